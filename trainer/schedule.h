#pragma once

#include <cstdint>

#include "configs/schema.h"

namespace layalign::trainer {

/// The learning rate of a step: a linear warm-up from 0 over the first ceil(warmup * total_steps) steps, then a half
/// cosine to 0, a line to 0, or constant. The numbers of transformers'
/// get_{cosine,linear,constant}_schedule_with_warmup. `step` is 0 for the first update, whose rate is therefore 0 where
/// there is a warm-up.
double learning_rate(const configs::ScheduleConfig& schedule, double peak, int64_t step, int64_t total_steps);

}  // namespace layalign::trainer
