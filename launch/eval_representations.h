#pragma once

#include <functional>
#include <string>

#include "launch/eval_plan.h"
#include "trainer/answering.h"
#include "trainer/frozen_models.h"

namespace layalign::launch {

/// What the task representations needs.
struct RepresentationsRun {
  const dist::ProcessGrid& grid;
  const EvalPlan& plan;
  const trainer::FrozenModels& models;
  model::Trainables& trainables;
  const trainer::Answering& answering;
  trainer::Together together;
  std::string weights;  ///< what is evaluated, for the files; kUntrained for what a run begins with
};

/// Pools the states of every mode; the first rank writes MODE/representations.h5 and .json (of untrained weights
/// representations_untrained.*) into the output folder, and tables to standard output.
/// Errors: IoError; StoppedError on every rank where one was asked to stop.
void evaluate_representations(const RepresentationsRun& run);

}  // namespace layalign::launch
