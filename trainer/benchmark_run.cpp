#include "trainer/benchmark_run.h"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoints_tools/hash.h"
#include "data/tokenizer.h"
#include "trainer/log.h"
#include "trainer/progress.h"
#include "trainer/scoring.h"
#include "trainer/trainables_file.h"

namespace layalign::trainer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

/// Shows on the first rank how many questions are answered: a line below the log on a terminal, a log line now and then
/// elsewhere.
class AnswerProgress {
 public:
  AnswerProgress(std::string title, int64_t total)
      : title_(std::move(title)), total_(total), terminal_(stdout_is_terminal()) {}
  ~AnswerProgress() {
    if (terminal_) show_status_line("");
  }
  AnswerProgress(const AnswerProgress&) = delete;
  AnswerProgress& operator=(const AnswerProgress&) = delete;

  void answered(int64_t tokens) {
    ++done_;
    tokens_ += tokens;
    const auto now = Clock::now();
    const bool last = done_ == total_;
    if (!last && seconds_between(shown_, now) < (terminal_ ? kRedrawS : kLineS)) return;
    shown_ = now;
    const double elapsed_s = seconds_between(start_, now);
    char numbers[128];
    std::snprintf(
        numbers, sizeof numbers, "  %lld/%lld  %.0f tok/s  %s %s", static_cast<long long>(done_),
        static_cast<long long>(total_), static_cast<double>(tokens_) / elapsed_s, last ? "in" : "ETA",
        format_duration(last ? elapsed_s : elapsed_s / static_cast<double>(done_) * static_cast<double>(total_ - done_))
            .c_str());
    if (terminal_ && !last)
      show_status_line(title_ + numbers);
    else
      log_info(title_ + numbers);
  }

 private:
  static constexpr double kRedrawS = 0.2, kLineS = 30;

  std::string title_;
  int64_t total_, done_ = 0, tokens_ = 0;
  bool terminal_;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
};

/// The questions without an output, as every rank knows them.
std::vector<int64_t> open_questions(const dist::ProcessGrid& grid, const BenchmarkPlan& plan, AnswerMode mode,
                                    const EvaluationOutputs* outputs) {
  std::vector<int64_t> open;
  for (size_t i = 0; outputs && i < plan.items.size(); ++i) {
    if (!outputs->find(key_of(plan.task, name_of(mode), plan.items[i]))) open.push_back(static_cast<int64_t>(i));
  }
  if (!grid.process) return open;
  return nlohmann::json::parse(grid.process->broadcast(nlohmann::json(open).dump(), 0)).get<std::vector<int64_t>>();
}

}  // namespace

bool reads_prompt(AnswerMode mode, const configs::StageConfig& stage) {
  return mode == AnswerMode::kLlm || stage.prompt;
}

uint64_t draw_key(data::EvaluationTask task, const data::EvaluationItem& item) {
  checkpoints_tools::Xxh3 hash;
  hash.update(std::string(data::name_of(task)) + '\0' + item.language + '\0' + std::to_string(item.index));
  return std::stoull(hash.hex().substr(0, 16), nullptr, 16);
}

nlohmann::json output_identity(const Experiment& experiment, const FrozenModels& models, const model::Trainables& trainables,
                               const configs::StageConfig& stage, const model::GenerationOptions& options) {
  return {{"encoder", models.encoder->fingerprint()},
          {"llm", models.llm->fingerprint()},
          {"encoder_tokenizer", experiment.encoder_tokenizer_fingerprint},
          {"llm_tokenizer", experiment.llm_tokenizer_fingerprint},
          {"trainables", trainables_hash(trainables.masters())},
          {"encoder_layers", experiment.encoder_layers},
          {"language_layers", experiment.language_layers},
          {"prompt", stage.prompt},
          {"max_source_tokens", stage.max_source_tokens},
          {"max_prompt_tokens", stage.max_target_tokens},
          {"max_new_tokens", options.max_new_tokens},
          {"temperature", options.sampling.temperature},
          {"top_p", options.sampling.top_p},
          {"seed", options.sampling.seed},
          {"precision", experiment.config.parallel.precision}};
}

bool run_benchmark(const Answering& answering, const dist::ProcessGrid& grid, const Experiment& experiment,
                   const configs::StageConfig& stage, const BenchmarkPlan& plan, EvaluationOutputs* outputs,
                   const std::function<bool()>& leave) {
  bool done = true;
  for (const auto mode : plan.modes) {
    const auto open = open_questions(grid, plan, mode, outputs);
    const std::string title = std::string(data::name_of(plan.task)) + " " + std::string(name_of(mode));
    if (open.size() < plan.items.size()) {
      log_info(title + ": " + std::to_string(plan.items.size() - open.size()) + " of " +
               std::to_string(plan.items.size()) + " questions were answered before");
    }
    std::vector<data::Sample> samples;
    std::vector<uint64_t> draw_keys;
    for (int64_t index : open) {
      draw_keys.push_back(draw_key(plan.task, plan.items[index]));
      samples.push_back(question_sample(plan.items[index], experiment.vocabulary, stage, reads_prompt(mode, stage)));
    }
    if (samples.empty()) continue;
    AnswerProgress progress(title, static_cast<int64_t>(samples.size()));
    const auto keep = [&](int64_t index, const model::Continuation& made) {
      const auto tokens = static_cast<int64_t>(made.ids.size());
      outputs->append(key_of(plan.task, name_of(mode), plan.items[open[index]]),
                      {experiment.vocabulary.llm->decode(made.ids), tokens, made.seconds});
      progress.answered(tokens);
    };
    done = answering.run(mode, samples, plan.generation, keep, draw_keys, leave);
    if (!done) break;
  }
  if (outputs) outputs->sync();
  return done;
}

Accuracy score_outputs(const dist::ProcessGrid& grid, const BenchmarkPlan& plan, const EvaluationOutputs* outputs) {
  std::vector<int64_t> right;
  for (size_t i = 0; outputs && i < plan.items.size(); ++i) {
    const auto* output = outputs->find(key_of(plan.task, name_of(plan.modes[0]), plan.items[i]));
    right.push_back(score(plan.task, plan.items[i].answer, output->text).correct);
  }
  if (grid.process) {
    right = nlohmann::json::parse(grid.process->broadcast(nlohmann::json(right).dump(), 0)).get<std::vector<int64_t>>();
  }
  return accuracy_of(plan.task, plan.items, right);
}

}  // namespace layalign::trainer
