#include "trainer/metrics.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "configs/strict_json.h"
#include "trainer/durable_file.h"

namespace layalign::trainer {
namespace {

constexpr const char* kStageNumber = "stage_number";  // the keys by which a resume finds the lines that it does again
constexpr const char* kStep = "step";

/// A JSON object in one line, its keys in the order of the calls.
class JsonLine {
 public:
  JsonLine& text(const std::string& key, const std::string& value) { return raw(key, nlohmann::json(value).dump()); }
  JsonLine& integer(const std::string& key, int64_t value) { return raw(key, std::to_string(value)); }
  JsonLine& boolean(const std::string& key, bool value) { return raw(key, value ? "true" : "false"); }
  JsonLine& number(const std::string& key, double value, int digits = 9) { return raw(key, text_of(value, digits)); }
  JsonLine& numbers(const std::string& key, const std::vector<float>& values) {
    std::string list;
    for (const float value : values) list += (list.empty() ? "" : ", ") + text_of(value, 9);
    return raw(key, "[" + list + "]");
  }
  JsonLine& raw(const std::string& key, const std::string& value) {
    body_ += (body_.empty() ? "" : ", ") + nlohmann::json(key).dump() + ": " + value;
    return *this;
  }
  std::string str() const { return "{" + body_ + "}"; }

 private:
  static std::string text_of(double value, int digits) {
    char buffer[40];
    std::snprintf(buffer, sizeof(buffer), "%.*g", digits, value);
    return std::isfinite(value) ? buffer : "null";
  }

  std::string body_;
};

std::string by_language(const std::vector<std::pair<std::string, double>>& values) {
  JsonLine line;
  for (const auto& [language, value] : values) line.number(language, value);
  return line.str();
}

JsonLine flops_line(const model::Flops& flops) {
  JsonLine line;
  for (const FlopsEntry& entry : kFlopsEntries) line.integer(entry.name, entry.of(flops));
  return line;
}

std::string group_line(const GroupTraffic& traffic) {
  return JsonLine()
      .integer("all_reduces", traffic.all_reduces)
      .integer("all_gathers", traffic.all_gathers)
      .integer("bytes", traffic.bytes)
      .str();
}

std::string counters_line(const StepMetrics& m) {
  const StepCounters& counters = *m.counters;
  JsonLine line;
  line.integer("llm_tokens", m.llm_tokens)
      .integer("encoder_tokens", counters.encoder_tokens)
      .integer("micro_batches", counters.micro_batches)
      .number("label_ratio", counters.label_ratio, 6)
      .number("padding_ratio", padding_ratio(counters), 6)
      .number("rank_imbalance", counters.rank_imbalance, 6)
      .integer("peak_tensor_bytes", counters.peak_tensor_bytes)
      .raw("flops", flops_line(counters.flops).str())
      .raw("collectives", JsonLine().raw("tp", group_line(counters.tp)).raw("world", group_line(counters.world)).str());
  if (const auto& executed = counters.executed) {
    line.raw("executed", JsonLine()
                             .raw("flops", flops_line(executed->flops).str())
                             .integer("operators", executed->operators)
                             .integer("moved_bytes", executed->moved_bytes)
                             .integer("host_syncs", executed->host_syncs)
                             .str());
  }
  return line.str();
}

std::string phases_line(const PhaseSeconds& seconds) {
  JsonLine line;
  for (size_t i = 0; i < kPhases; ++i) line.number(kPhaseNames[i], seconds[i], 4);
  return line.str();
}

/// Whether a line is whole and tells of a step up to the given one.
bool belongs_before(const std::string& line, int64_t stage_index, int64_t step) {
  try {
    const nlohmann::json object = configs::parse_json(line, "metrics");
    const auto line_stage = object.at(kStageNumber).get<int64_t>() - 1;
    return line_stage < stage_index || (line_stage == stage_index && object.at(kStep).get<int64_t>() <= step);
  } catch (const std::exception&) {  // torn by a crash, so never finished: the step is done again
    return false;
  }
}

}  // namespace

std::string to_json(const StepMetrics& m) {
  JsonLine line;
  line
      .text("stage", m.stage)
      .integer(kStageNumber, m.stage_index + 1)
      .integer(kStep, m.step)
      .number("epoch", m.epoch, 6)
      .number("loss", m.loss)
      .number("grad_norm", m.grad_norm)
      .number("lr", m.lr)
      .integer("samples", m.samples)
      .integer("label_tokens", m.label_tokens)
      .number("tokens_per_s", m.tokens_per_s, 6)
      .number("samples_per_s", m.samples_per_s, 6)
      .number("step_s", m.step_s, 6)
      .integer("peak_memory_bytes", m.peak_memory_bytes);
  if (!m.gates.empty()) line.numbers("gates", m.gates);
  if (m.mfu) line.number("mfu", *m.mfu, 4);
  if (m.phase_s) line.raw("phase_s", phases_line(*m.phase_s));
  if (m.counters) line.raw("counters", counters_line(m));
  return line.str();
}

std::string to_json(const BenchmarkMetrics& m) {
  return JsonLine()
      .text("stage", m.stage)
      .integer(kStageNumber, m.stage_index + 1)
      .integer(kStep, m.step)
      .text("task", m.task)
      .number("accuracy", m.accuracy)
      .integer("questions", m.questions)
      .number("evaluation_s", m.evaluation_s, 6)
      .raw("language_accuracy", by_language(m.language_accuracy))
      .str();
}

std::string to_json(const EvaluationMetrics& m) {
  return JsonLine()
      .text("stage", m.stage)
      .integer(kStageNumber, m.stage_index + 1)
      .integer(kStep, m.step)
      .number("loss", m.loss)
      .number("perplexity", m.perplexity)
      .integer("samples", m.samples)
      .integer("label_tokens", m.label_tokens)
      .boolean("best", m.best)
      .number("evaluation_s", m.evaluation_s, 6)
      .raw("language_perplexity", by_language(m.language_perplexity))
      .str();
}

MetricsFile::MetricsFile(std::filesystem::path path)
    : path_(std::move(path)), file_(checkpoints_tools::FileWriter::append(path_)) {}

void MetricsFile::append_line(std::string line) {
  line += '\n';
  file_.write(std::as_bytes(std::span(line)));
}

int64_t MetricsFile::truncate_after(int64_t stage_index, int64_t step) {
  const std::string text = as_io_error([&] { return configs::read_text_file(path_); });
  std::string kept;
  int64_t dropped = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const size_t end = newline == std::string::npos ? text.size() : newline;
    const std::string line = text.substr(begin, end - begin);
    if (newline != std::string::npos && belongs_before(line, stage_index, step)) {
      kept += line + '\n';
    } else {
      ++dropped;
    }
    begin = end + 1;
  }
  if (dropped == 0) return 0;
  write_file_durably(path_, kept);
  file_ = checkpoints_tools::FileWriter::append(path_);  // it was the one that is replaced
  return dropped;
}

int64_t MetricsFile::lines() const {
  const std::string text = as_io_error([&] { return configs::read_text_file(path_); });
  return std::count(text.begin(), text.end(), '\n');
}

void MetricsFile::sync() { file_.flush(); }

}  // namespace layalign::trainer
