#pragma once

#include <string>

#include "configs/node.h"

namespace layalign::configs {

/// Puts the value of "a.b=c" into a document as if its text said so; "stages.0.lr" counts stages from 0. Whether the
/// key is known is for the binder to say. Errors: ConfigError, "--set a.b: problem".
void apply_override(Node& document, const std::string& assignment);

}  // namespace layalign::configs
