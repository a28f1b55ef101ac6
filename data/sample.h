#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace layalign::data {

/// One training or evaluation sample as token ids.
struct Sample {
  std::vector<int64_t> source;  ///< encoder ids, with the encoder's own special tokens
  std::vector<int64_t> prompt;  ///< LLM ids between end_boundary and target; may be empty
  std::vector<int64_t> target;  ///< LLM ids, ends with eos
  std::string language;
  std::string origin;  ///< where it came from, for messages: file:line or file[index]
};

}  // namespace layalign::data
