// A TFLite model for microcontrollers, to be given to tflite::GetModel.
// SHA-256 036754ba839da48d6b70798536fc93f2902e8947574d815ba7ffa66292b13bfd, 16000 bytes
#ifndef STUDENT_H_
#define STUDENT_H_

#include <cstddef>

extern const unsigned char student[];
constexpr std::size_t student_size = 16000;

#endif  // STUDENT_H_
