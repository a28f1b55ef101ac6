#include "trainer/plan_report.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "configs/reader.h"
#include "data/batch.h"
#include "trainer/format.h"
#include "trainer/progress.h"
#include "trainer/trainables_file.h"

namespace layalign::trainer {
namespace {

/// Tokens of samples as the models see them.
struct TokenCount {
  double source = 0, llm = 0, label = 0;
};

constexpr int64_t kCountedSamples = 2000;

/// Mean tokens a sample, over evenly spaced training samples.
TokenCount mean_tokens(const PreparedStage& stage, data::InputForm form) {
  const auto& train = stage.split.train;
  const auto size = static_cast<int64_t>(train.size());
  const int64_t counted = std::min(kCountedSamples, size);
  TokenCount sum;
  for (int64_t i = 0; i < counted; ++i) {
    const auto sample = stage.dataset->get(train[i * size / counted]);
    sum.source += static_cast<double>(sample.source.size());
    sum.llm += static_cast<double>(data::llm_tokens(sample, form));
    sum.label += static_cast<double>(sample.target.size());
  }
  const auto n = static_cast<double>(counted);
  return {sum.source / n, sum.llm / n, sum.label / n};
}

std::string human_bytes(int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

std::string human_seconds(double seconds) {
  return seconds < 60 ? format("%.3g s", seconds) : format_duration(seconds);
}

std::string row(const std::string& name, int64_t parameters, int64_t bytes_each) {
  char text[128];
  std::snprintf(text, sizeof text, "  %-28s %18s parameters %12s\n", name.c_str(), with_commas(parameters).c_str(),
                human_bytes(parameters * bytes_each).c_str());
  return text;
}

void describe_stage(std::ostringstream& out, const Experiment& experiment, size_t index) {
  const auto& stage = experiment.stages[index];
  const size_t count = experiment.stages.size();
  const auto mean = mean_tokens(stage, experiment.input_form);
  const auto train = static_cast<int64_t>(stage.split.train.size());
  const double samples = std::min(static_cast<double>(stage.total_steps) * static_cast<double>(stage.config.global_batch),
                                  static_cast<double>(stage.total_steps) / static_cast<double>(stage.steps_per_epoch) *
                                      static_cast<double>(train));
  const char* about = train > kCountedSamples || stage.total_steps % stage.steps_per_epoch != 0 ? "about " : "";
  const auto total = [&](double each) { return with_commas(static_cast<int64_t>(each * samples + 0.5)); };
  out << "stage " << index + 1 << "/" << count << " " << stage.config.name << " (" << stage.config.corpus.format << "): "
      << split_text(stage.split) << "\n"
      << "  steps                        " << with_commas(stage.total_steps) << " (" << with_commas(stage.steps_per_epoch)
      << " an epoch) of up to " << stage.config.global_batch << " samples\n"
      << "  tokens of the whole stage    " << about << total(mean.llm) << " LLM, " << total(mean.source) << " encoder, "
      << total(mean.label) << " label\n";
}

/// What a stage needs and takes.
void describe_plan(std::ostringstream& out, const StagePlan& plan, const Machine& machine) {
  const auto& memory = plan.memory;
  const double bound = plan.bound_s, step = plan.step_s();
  out << format("  tokens a micro-batch         up to %s LLM seen; %s would fit\n",
                with_commas(plan.micro_batch_tokens).c_str(), with_commas(plan.fitting_tokens).c_str())
      << format("  memory of that micro-batch   encoder states %s, activations %s, loss %s or backward of a layer %s\n",
                human_bytes(memory.states).c_str(), human_bytes(memory.activations).c_str(),
                human_bytes(memory.loss).c_str(), human_bytes(memory.backward).c_str())
      << format("  a step                       %.0f LLM tokens, %.4g TFLOP, at least %s\n", plan.llm_tokens,
                plan.flops / 1e12, human_seconds(bound).c_str())
      << format(
             "  expected                     %s (products %s, elementwise %s, communication %s of %s), %.0f tokens/s\n",
             human_seconds(step).c_str(), human_seconds(plan.product_s).c_str(),
             human_seconds(plan.elementwise_s).c_str(), human_seconds(plan.communication_s).c_str(),
             human_bytes(static_cast<int64_t>(plan.communication_bytes)).c_str(), plan.llm_tokens / step)
      << format("  the stage on %-15s %s\n", machine.name.c_str(),
                human_seconds(step * static_cast<double>(plan.steps)).c_str());
}

/// What caching the encoder's states of a stage would take, equal texts counted each time.
std::string cache_line(const Experiment& experiment, const PreparedStage& stage) {
  const std::string& dtype = experiment.config.cache.dtype;
  const double value_bytes = dtype == "float32" ? 4 : dtype == "bfloat16" ? 2 : 1 + 4.0 / 32;
  const double tokens =
      mean_tokens(stage, experiment.input_form).source * static_cast<double>(stage.split.train.size());
  const auto stored = static_cast<int64_t>(experiment.cache_layers.size());
  const int64_t layers = stored > 0 ? stored : experiment.encoder.depth + 1;
  const auto states = static_cast<double>(layers * experiment.encoder.width);
  return "  states of its texts          " + human_bytes(static_cast<int64_t>(tokens * states * value_bytes)) +
         " in a cache of " + dtype + " (" + std::to_string(layers) +
         " layers, equal texts counted each time)\n";
}

}  // namespace

std::string split_text(const data::Split& split) {
  const auto count = [](const std::vector<int64_t>& part) { return with_commas(static_cast<int64_t>(part.size())); };
  return count(split.train) + " training samples, " + count(split.dev) + " held out" +
         (split.unused > 0 ? ", " + with_commas(split.unused) + " unused (of the problem that filled dev_size)" : "");
}

std::string plan_report(const Experiment& experiment, int world, const Machine& machine) {
  const auto& config = experiment.config;
  const auto tp = static_cast<int>(config.parallel.tensor);
  const int64_t frozen_bytes = config.parallel.precision == "bfloat16" ? 2 : 4;
  const int64_t trained = layout_numel(model::trainable_layout(experiment.sizes));
  const int64_t llm = experiment.llm.parameters(tp);
  std::ostringstream out;
  out << configs::to_yaml(config) << "\n"
      << "grid: " << world << " rank" << (world == 1 ? "" : "s") << " = " << tp << " tensor parallel x " << world / tp
      << " data parallel\n"
      << "a rank holds\n"
      << row("frozen encoder", experiment.encoder.parameters, frozen_bytes) << row("frozen LLM (its shard)", llm, frozen_bytes)
      << row("trainables, float32", trained, 4) << row("gradients and AdamW moments", 3 * trained, 4)
      << "  in all                       "
      << human_bytes((experiment.encoder.parameters + llm) * frozen_bytes + trained * 16) << " and the activations\n";
  const auto plan = plan_run(experiment, machine, world, tp);
  for (size_t i = 0; i < experiment.stages.size(); ++i) {
    describe_stage(out, experiment, i);
    out << cache_line(experiment, experiment.stages[i]);
    describe_plan(out, plan.stages[i], machine);
  }
  out << "a rank at its peak             " << human_bytes(plan.peak_bytes()) << " in tensors"
      << (plan.fits(machine)
              ? ""
              : ": MORE THAN FITS; lower micro_batch, raise parallel.tensor or set parallel.recompute: full")
      << "\nthe run on " << machine.name << ", without evaluation and checkpoints: " << human_seconds(plan.run_s())
      << "\n";
  return out.str();
}

std::vector<std::string> plan_lines(const Experiment& experiment, const dist::ProcessGrid& grid, int64_t threads) {
  const auto& config = experiment.config;
  std::ostringstream first, second;
  first << grid.world_size << " rank" << (grid.world_size == 1 ? "" : "s") << " (" << grid.tp_size << " tensor parallel x "
        << grid.dp_size << " data parallel), " << grid.device.type() << ", " << config.parallel.precision << ", "
        << grid.world.backend() << ", " << threads << " thread" << (threads == 1 ? "" : "s") << " a rank";
  second << "encoder " << experiment.encoder_folder.string() << " (" << experiment.encoder.model_type << ", "
         << experiment.encoder.depth << " layers), LLM " << experiment.llm_folder.string() << " ("
         << experiment.llm.model_type << ", " << experiment.llm.layers << " layers, "
         << experiment.language_layers.size() << " adapted), "
         << with_commas(layout_numel(model::trainable_layout(experiment.sizes))) << " trained parameters";
  std::vector<std::string> lines = {first.str(), second.str()};
  for (size_t i = 0; i < experiment.stages.size(); ++i) {
    const auto& stage = experiment.stages[i];
    lines.push_back("stage " + std::to_string(i + 1) + "/" + std::to_string(experiment.stages.size()) + " " +
                    stage.config.name + ": " + split_text(stage.split) + ", " + with_commas(stage.total_steps) + " steps");
  }
  return lines;
}

}  // namespace layalign::trainer
