#pragma once

#include <string>
#include <vector>

#include "dist/process_grid.h"
#include "trainer/experiment.h"
#include "trainer/run_plan.h"

namespace layalign::trainer {

/// What a rank holds and what a run does, without reading a weight: the resolved config, the process grid, parameters
/// and bytes a rank by part, and for each stage samples, steps and tokens (of a large corpus estimated from 2000
/// samples), memory, FLOPs and expected times. `world`: the number of ranks planned for.
std::string plan_report(const Experiment& experiment, int world, const Machine& machine);

/// The run in a few log lines, for the start of the log.
std::vector<std::string> plan_lines(const Experiment& experiment, const dist::ProcessGrid& grid, int64_t threads);

/// "3,000 training samples, 300 held out"; samples of the last group held out can be in neither part.
std::string split_text(const data::Split& split);

}  // namespace layalign::trainer
