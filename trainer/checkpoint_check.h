#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/checkpoint_place.h"

namespace layalign::trainer {

/// A file or folder that was checked.
struct CheckedItem {
  std::filesystem::path path;
  std::vector<std::string> problems;  ///< each with the path that it is about; none: nothing is wrong with it
  std::string note;                   ///< what could not be checked; empty where everything was
};

/// Checks everything at a place. A training checkpoint: every byte against its manifest, finite values, a state that a
/// resume can read. Weights outside of checkpoints: their format, finite values, and every byte against their checksum
/// where they have one. An adapter: its weights, and the files beside them against the
/// checksums that these hold, but for the model card. A stage, a run: all of those in it, and its
/// config. Unfinished folders (.tmp) are passed over, as a resume does.
std::vector<CheckedItem> check_all(const CheckpointPlace& place);

}  // namespace layalign::trainer
