#include <algorithm>
#include <cstring>
#include <span>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors_dtype.h"
#include "checkpoints_tools/safetensors_header.h"
#include "tests/fuzz/fuzz_input.h"

using namespace layalign;
using checkpoints_tools::kLengthBytes;

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t most);

namespace {

uint64_t header_bytes_of(const uint8_t* file) {
  uint64_t length = 0;
  std::memcpy(&length, file, kLengthBytes);
  return length;
}

/// What an accepted header promises: the tensors cover the data, each with the bytes of its shape.
void check(const checkpoints_tools::SafetensorsHeader& header, uint64_t file_bytes) {
  uint64_t covered = 0;
  for (const auto& [name, tensor] : header.tensors) {
    uint64_t bytes = checkpoints_tools::find_dtype(tensor.dtype)->bytes;
    for (const int64_t dimension : tensor.shape) bytes *= static_cast<uint64_t>(dimension);
    fuzz::require(tensor.end - tensor.begin == bytes, "a tensor has the bytes of its shape");
    fuzz::require(tensor.begin >= header.data_begin && tensor.end <= file_bytes, "a tensor lies in the file");
    covered += bytes;
  }
  fuzz::require(covered == file_bytes - header.data_begin, "the tensors cover the file");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  fuzz::accepts<checkpoints_tools::CheckpointError>([&] {
    const auto file = std::as_bytes(std::span(bytes, size));
    check(checkpoints_tools::parse_header(file, "fuzzed.safetensors"), size);
  });
  return 0;
}

/// Mostly changes the header's text alone and sets its length anew, for else nearly every change ends at the length.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t most, unsigned seed) {
  if (size < kLengthBytes || seed % 8 == 0) return LLVMFuzzerMutate(bytes, size, most);
  const size_t text_bytes = std::min<uint64_t>(header_bytes_of(bytes), size - kLengthBytes);
  const size_t data_bytes = size - kLengthBytes - text_bytes;
  std::vector<uint8_t> text(most - kLengthBytes);
  std::copy_n(bytes + kLengthBytes, text_bytes, text.begin());
  const uint64_t length = LLVMFuzzerMutate(text.data(), text_bytes, text.size());
  const size_t kept_bytes = std::min<size_t>(data_bytes, most - kLengthBytes - length);
  std::memmove(bytes + kLengthBytes + length, bytes + kLengthBytes + text_bytes, kept_bytes);
  std::memcpy(bytes, &length, kLengthBytes);
  std::copy_n(text.begin(), length, bytes + kLengthBytes);
  return kLengthBytes + length + kept_bytes;
}
