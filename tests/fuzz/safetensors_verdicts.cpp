// The C++ side of safetensors_differential.py. Reads files from stdin, each behind its size as 64 bits (little endian),
// and says for each in a line what parse_header makes of it: "ok NAME DTYPE [SHAPE] BEGIN END ..." or "refused
// MESSAGE".
#include <iostream>
#include <span>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/safetensors_header.h"

using namespace layalign;

namespace {

std::string verdict_on(std::string_view file) {
  std::string verdict = "ok";
  try {
    const auto header = checkpoints_tools::parse_header(std::as_bytes(std::span(file)), "file");
    for (const auto& [name, tensor] : header.tensors) {
      verdict += ' ' + std::to_string(name.size()) + ' ' + tensor.dtype + " [";
      for (const int64_t dimension : tensor.shape) verdict += std::to_string(dimension) + ',';
      verdict += "] " + std::to_string(tensor.begin - header.data_begin) + ' ' +
                 std::to_string(tensor.end - header.data_begin);
    }
  } catch (const checkpoints_tools::CheckpointError& error) {
    verdict = std::string("refused ") + error.what();
  }
  return verdict;
}

}  // namespace

int main() {
  uint64_t size = 0;
  std::string file;
  while (std::cin.read(reinterpret_cast<char*>(&size), sizeof size)) {
    file.resize(size);
    if (!std::cin.read(file.data(), static_cast<std::streamsize>(size))) return 1;
    std::cout << verdict_on(file) << '\n';
  }
}
