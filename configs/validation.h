#pragma once

#include "configs/report.h"
#include "configs/schema.h"

namespace layalign::configs {

/// Checks what no single key can tell: which corpus needs which keys, names that must differ, combinations that do not
/// work.
void validate(const RunConfig& config, Report& report);

}  // namespace layalign::configs
