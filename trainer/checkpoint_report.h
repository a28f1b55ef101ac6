#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "trainer/checkpoint_place.h"

namespace layalign::trainer {

/// What lies at a place, as docs/checkpoints.md lists its keys: the weights that are meant, the newest training
/// checkpoint, the stages, the config. Parts that are not there (yet) are left out. A number that is not finite is
/// null. Of a stage or run the newest checkpoint that can be read; newer ones, which are damaged or of another version,
/// are named. Errors: CheckpointError for weights that are damaged, and for such a checkpoint where the place is one.
nlohmann::ordered_json checkpoint_report(const CheckpointPlace& place);

/// The same for people, in lines that end with '\n'.
std::string report_text(const nlohmann::ordered_json& report);

}  // namespace layalign::trainer
