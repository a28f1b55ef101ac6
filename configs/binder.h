#pragma once

#include "configs/node.h"
#include "configs/report.h"
#include "configs/schema.h"

namespace layalign::configs {

/// Fills a config from a document. What is unknown, repeated, missing, of a wrong type or out of range goes to
/// `report`, and the key keeps its default; stages without a name are named by their place.
RunConfig bind(const Node& document, Report& report);

}  // namespace layalign::configs
