#include "launch/eval_representations.h"

#include <filesystem>
#include <iostream>
#include <optional>
#include <span>

#include "checkpoints_tools/file_operations.h"
#include "trainer/log.h"
#include "trainer/representations_report.h"
#include "trainer/stop.h"

namespace layalign::launch {
namespace {

namespace fs = std::filesystem;

/// Questions as a mode reads them; of the target, which counts among the labels alone, a token is enough.
std::vector<data::Sample> samples_of(const EvalPlan& plan, trainer::AnswerMode mode) {
  std::vector<data::Sample> samples;
  for (const auto& item : plan.sentences->items) {
    const bool prompt = trainer::reads_prompt(mode, plan.stage());
    samples.push_back(trainer::question_sample(item, plan.experiment.vocabulary, plan.stage(), prompt));
    samples.back().target = {plan.experiment.llm.bos_id};
  }
  return samples;
}

void evaluate_mode(const RepresentationsRun& run, trainer::AnswerMode mode) {
  const auto& [experiment, sentences] = std::tie(run.plan.experiment, *run.plan.sentences);
  const auto layalign = run.answering.parts(mode);
  const auto layers = mode == trainer::AnswerMode::kLayAlign ? experiment.encoder_layers : std::vector<int64_t>();
  const trainer::Models models{*run.models.encoder, *run.models.llm, layalign, run.trainables, layers};
  const std::string name(trainer::name_of(mode));
  const fs::path file =
      run.plan.output / name / (run.weights == kUntrained ? "representations_untrained" : "representations");
  trainer::RepresentationsReport report{.mode = name,
                                        .weights = run.weights,
                                        .languages = {sentences.languages.begin() + 1, sentences.languages.end()},
                                        .sentences = static_cast<int64_t>(sentences.indices.size())};
  std::optional<data::RepresentationsFile> states;
  run.together([&] {
    if (run.grid.world_rank != 0) return;
    checkpoints_tools::make_folder(file.parent_path());
    states.emplace(fs::path(file) += ".h5",
                   data::RepresentationsForm{.languages = sentences.languages,
                                             .sentences = sentences.indices,
                                             .layers = trainer::represented_layers(models),
                                             .notes = {{"mode", name}, {"weights", run.weights}}});
  });
  trainer::log_info("representations " + name + ": " + std::to_string(sentences.indices.size()) + " sentences in " +
                    std::to_string(sentences.languages.size()) + " languages");
  std::string reason;
  const auto leave = [&] {
    return !(reason = trainer::agreed_reason(trainer::asked_to_stop(), run.grid.process.get())).empty();
  };
  const auto take = [&](const std::string& layer, const at::Tensor& states_ND) {
    states->write(layer, {states_ND.const_data_ptr<float>(), static_cast<size_t>(states_ND.numel())});
    const auto languages = static_cast<int64_t>(sentences.languages.size());
    report.layers.push_back({layer, trainer::similarities(states_ND.view({languages, report.sentences, -1}))});
  };
  const bool whole = trainer::pool_representations(run.grid, models, samples_of(run.plan, mode),
                                                   run.plan.generation.batch, leave, take);
  if (!whole)
    throw trainer::StoppedError("stopped (" + reason +
                                "); representations are written when all are there, the same command makes them again");
  if (run.grid.world_rank != 0) return;
  states->commit();
  trainer::write_similarities(fs::path(file) += ".json", report);
  std::cout << trainer::similarity_table(report) << "\nrepresentations: " << file.string() << ".h5\n" << std::flush;
}

}  // namespace

void evaluate_representations(const RepresentationsRun& run) {
  for (const auto mode : run.plan.modes) evaluate_mode(run, mode);
}

}  // namespace layalign::launch
