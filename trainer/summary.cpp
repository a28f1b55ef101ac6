#include "trainer/summary.h"

#include <cmath>
#include <functional>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "configs/strict_json.h"
#include "trainer/durable_file.h"
#include "trainer/progress.h"

namespace layalign::trainer {
namespace {

using Json = nlohmann::ordered_json;

/// Metrics write null for what is not finite.
double number(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
}

Json finite_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

void for_each_line(const std::filesystem::path& path, std::vector<StageSummary>& stages,
                   const std::function<void(const nlohmann::json&, StageSummary&)>& take) {
  const std::string text = as_io_error([&] { return configs::read_text_file(path); });
  int64_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = path.string() + ":" + std::to_string(++line_number);
    try {
      const nlohmann::json line = configs::parse_json(std::string_view(text).substr(begin, end - begin), where);
      take(line, stages.at(line.at("stage_number").get<size_t>() - 1));
    } catch (const configs::JsonError& error) {
      throw IoError(error.what());
    } catch (const std::exception& error) {
      throw IoError(where + ": not a line of metrics: " + error.what());
    }
    begin = end + 1;
  }
}

void take_step(const nlohmann::json& line, StageSummary& stage) {
  const double loss = number(line.at("loss"));
  if (stage.steps == 0) stage.first_loss = loss;
  stage.last_loss = loss;
  stage.steps = line.at("step").get<int64_t>();
  stage.train_s += number(line.at("step_s"));
}

void take_evaluation(const nlohmann::json& line, StageSummary& stage) {
  if (line.contains("task")) {
    stage.accuracy[line.at("task").get<std::string>()] = number(line.at("accuracy"));
    return;
  }
  ++stage.evaluations;
  stage.last_perplexity = number(line.at("perplexity"));
  if (line.at("best").get<bool>()) {
    stage.best_perplexity = stage.last_perplexity;
    stage.best_step = line.at("step").get<int64_t>();
  }
  stage.language_perplexity.clear();
  for (const auto& [language, perplexity] : line.at("language_perplexity").items()) {
    stage.language_perplexity.emplace_back(language, number(perplexity));
  }
}

}  // namespace

std::vector<StageSummary> summarize_run(const RunFolder& folder) {
  std::vector<StageSummary> stages;
  for (const std::filesystem::path& stage : folder.stages()) {
    const std::string name = stage.filename().string();
    stages.emplace_back().name = name.substr(name.find('-') + 1);
  }
  for_each_line(folder.metrics(), stages, take_step);
  if (std::filesystem::exists(folder.evaluations())) for_each_line(folder.evaluations(), stages, take_evaluation);
  return stages;
}

std::string summary_text(const RunFolder& folder, const std::vector<StageSummary>& stages) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3);
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageSummary& stage = stages[i];
    text << "stage " << i + 1 << " " << stage.name << ": " << stage.steps << " steps in "
         << format_duration(stage.train_s) << ", loss " << stage.first_loss << " -> " << stage.last_loss << "\n";
    if (stage.evaluations > 0) {
      text << "  held-out perplexity " << stage.last_perplexity << " (best " << stage.best_perplexity << " at step "
           << stage.best_step << ")\n";
    }
    for (const auto& [language, perplexity] : stage.language_perplexity) {
      text << "    " << std::left << std::setw(12) << language << std::right << std::setw(9) << perplexity << "\n";
    }
    for (const auto& [task, accuracy] : stage.accuracy) text << "  " << task << " accuracy " << 100 * accuracy << " %\n";
    text << "  trained weights: " << folder.trainables(static_cast<int64_t>(i)).string() << "\n";
  }
  text << "metrics: " << folder.metrics().string() << "\n";
  return text.str();
}

void finish_run(const RunFolder& folder, const std::vector<StageSummary>& stages) {
  Json list = Json::array();
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageSummary& stage = stages[i];
    Json languages = Json::object();
    for (const auto& [language, perplexity] : stage.language_perplexity) languages[language] = finite_json(perplexity);
    list.push_back({{"name", stage.name},
                    {"steps", stage.steps},
                    {"first_loss", finite_json(stage.first_loss)},
                    {"last_loss", finite_json(stage.last_loss)},
                    {"train_s", finite_json(stage.train_s)},
                    {"evaluations", stage.evaluations},
                    {"last_perplexity", finite_json(stage.last_perplexity)},
                    {"best_perplexity", finite_json(stage.best_perplexity)},
                    {"best_step", stage.best_step},
                    {"language_perplexity", languages},
                    {"accuracy", stage.accuracy},
                    {"trainables", folder.trainables(static_cast<int64_t>(i)).lexically_relative(folder.output())}});
  }
  write_file_durably(folder.summary(), Json{{"stages", list}}.dump(2) + "\n");
}

}  // namespace layalign::trainer
