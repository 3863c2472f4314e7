// A TFLite model for microcontrollers, to be given to tflite::GetModel.
// SHA-256 b3b9ea829016c945b29927420c91ea1670c4c61827a658dfc45fc07e9cda752e, 1404 bytes
#ifndef STUDENT_H_
#define STUDENT_H_

#include <cstddef>

extern const unsigned char student[];
constexpr std::size_t student_size = 1404;

#endif  // STUDENT_H_
