// A TFLite model for microcontrollers, to be given to tflite::GetModel.
// SHA-256 6cb2f43f34b836576c09a88f76070f4908149c9173f5ab7c77a3adea784cb16a, 7856 bytes
#ifndef STUDENT_INT8_H_
#define STUDENT_INT8_H_

#include <cstddef>

extern const unsigned char student_int8[];
constexpr std::size_t student_int8_size = 7856;

#endif  // STUDENT_INT8_H_
