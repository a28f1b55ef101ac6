#pragma once

#include <cstdint>
#include <string>

#include "configs/schema.h"

namespace layalign::trainer {

/// What `layalign-train --check-data` found.
struct DataCheck {
  std::string report;    ///< for people: each data set with its counts, lengths, warnings and problems
  int64_t problems = 0;  ///< what a run would refuse
  int64_t warnings = 0;  ///< what it would take, and somebody should look at
};

/// Reads every corpus and every benchmark of a config to its end, no weights, and writes nothing. Goes on behind a
/// problem; the report has at most 20 of a file. Models that cannot be read are a problem too: then there are no
/// lengths. Errors: ConfigError for layers that the models do not have.
DataCheck check_data(const configs::RunConfig& config);

}  // namespace layalign::trainer
