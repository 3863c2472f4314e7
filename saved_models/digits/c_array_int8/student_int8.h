// A TFLite model for microcontrollers, to be given to tflite::GetModel.
// SHA-256 51ed006859408c0c5f65e19e675e829b732da8bcd1a3a11de831193ac1a8df9f, 7856 bytes
#ifndef STUDENT_INT8_H_
#define STUDENT_INT8_H_

#include <cstddef>

extern const unsigned char student_int8[];
constexpr std::size_t student_int8_size = 7856;

#endif  // STUDENT_INT8_H_
