#include "trainer/stage_events.h"

#include <utility>

namespace layalign::trainer {

StageEvents::StageEvents(const std::filesystem::path& folder, int64_t steps_done, std::vector<int64_t> language_layers,
                         const std::string& config)
    : file_(folder, steps_done + 1), language_layers_(std::move(language_layers)) {
  file_.append(steps_done, Summary().text("config", "```yaml\n" + config + "```\n"));
}

void StageEvents::append(const StepMetrics& m) {
  Summary summary;
  summary.scalar("train/loss", m.loss)
      .scalar("train/grad_norm", m.grad_norm)
      .scalar("train/learning_rate", m.lr)
      .scalar("train/epoch", m.epoch)
      .scalar("throughput/tokens_per_s", m.tokens_per_s)
      .scalar("throughput/samples_per_s", m.samples_per_s)
      .scalar("throughput/step_s", m.step_s)
      .scalar("memory/peak_bytes", static_cast<double>(m.peak_memory_bytes));
  for (size_t i = 0; i < m.gates.size(); ++i) {
    summary.scalar("gates/layer_" + std::to_string(language_layers_.at(i)), m.gates[i]);
  }
  file_.append(m.step, summary.histogram("gates", m.gates));
}

void StageEvents::append(const EvaluationMetrics& m) {
  Summary summary;
  summary.scalar("eval/loss", m.loss).scalar("eval/perplexity", m.perplexity);
  for (const auto& [language, perplexity] : m.language_perplexity) summary.scalar("perplexity/" + language, perplexity);
  file_.append(m.step, summary);
}

void StageEvents::append(const BenchmarkMetrics& m) {
  Summary summary;
  summary.scalar("eval/" + m.task + "_accuracy", m.accuracy);
  for (const auto& [language, accuracy] : m.language_accuracy)
    summary.scalar(m.task + "_accuracy/" + language, accuracy);
  file_.append(m.step, summary);
}

}  // namespace layalign::trainer
