// A TFLite model for microcontrollers, to be given to tflite::GetModel.
// SHA-256 e29ab31f7410d7035039200c0fc6eda3853dfc80bf4e290ff9c231423bed4b91, 16000 bytes
#ifndef STUDENT_H_
#define STUDENT_H_

#include <cstddef>

extern const unsigned char student[];
constexpr std::size_t student_size = 16000;

#endif  // STUDENT_H_
