#pragma once

namespace layalign::model {

#ifdef __x86_64__
/// Whether kernels compiled for AVX2 and FMA run here.
inline bool has_avx2() {
  static const bool found = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return found;
}
#endif

}  // namespace layalign::model
