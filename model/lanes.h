// Vectors of eight floats for kernels that are compiled once for each instruction set: no function here has a name outside of
// its source. In a namespace LAYALIGN_INSTRUCTIONS, without inline code of the standard library: the linker could take such code's
// fast copy for a machine that cannot run it.
#pragma once

#include <cstdint>

namespace layalign::model::LAYALIGN_INSTRUCTIONS {
namespace {

constexpr int kLanes = 8;
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int Places __attribute__((vector_size(4 * kLanes)));

inline const Lanes& lanes(const float* from) { return *reinterpret_cast<const Lanes*>(from); }
inline Lanes& lanes(float* at) { return *reinterpret_cast<Lanes*>(at); }

}  // namespace
}  // namespace layalign::model::LAYALIGN_INSTRUCTIONS
