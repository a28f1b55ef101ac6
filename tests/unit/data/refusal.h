#pragma once

#include <filesystem>
#include <string>

#include "data/error.h"
#include "data/tokenizer.h"

namespace layalign::data {

/// The message of the DataError that loading a folder's tokenizer gives.
inline std::string refusal(const std::filesystem::path& folder) {
  try {
    load_tokenizer(folder);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace layalign::data
