#include "trainer/evaluation_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <stdexcept>
#include <string_view>

#include "trainer/format.h"

namespace layalign::trainer {
namespace {

constexpr std::array<std::string_view, 3> kLowResource{"Bengali", "Thai", "Swahili"};

std::string percent(double accuracy) { return format("%.1f", 100 * accuracy); }

std::string interval_text(double accuracy, double samples) {
  const Interval interval = wilson_interval(accuracy, samples);
  return format("%.1f - %.1f", interval.low, interval.high);
}

std::string rate_text(int64_t tokens, double seconds) {
  return seconds > 0 ? format("%.1f", static_cast<double>(tokens) / seconds) : "-";
}

/// Rows of cells as text: the first column to the left, the others to the right, two spaces between them.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line = row[0] + std::string(widths[0] - row[0].size(), ' ');
    for (size_t i = 1; i < row.size(); ++i) line += "  " + std::string(widths[i] - row[i].size(), ' ') + row[i];
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

AverageScore average_of(const std::string& name, const std::vector<const LanguageScore*>& languages) {
  AverageScore average{.name = name};
  const auto count = static_cast<double>(languages.size());
  double variance = 0, inverse_samples = 0;
  for (const LanguageScore* language : languages) {
    average.accuracy += language->accuracy() / count;
    variance += std::pow(language->standard_error(), 2);
    inverse_samples += 1 / static_cast<double>(language->samples);
    average.samples += language->samples;
    average.tokens += language->tokens;
    average.generation_s += language->generation_s;
  }
  average.standard_error = std::sqrt(variance) / count;
  average.effective_samples = count * count / inverse_samples;
  return average;
}

std::vector<AverageScore> averages_of(data::EvaluationTask task, const std::vector<LanguageScore>& languages) {
  std::vector<std::string> names;
  for (const LanguageScore& language : languages) names.push_back(language.language);
  const auto averaged = averaged_languages(task, names);
  std::vector<const LanguageScore*> low, high, all;
  for (const LanguageScore& language : languages) {
    if (std::ranges::find(averaged, language.language) == averaged.end()) continue;
    all.push_back(&language);
    if (!is_averaged(task, language.language)) continue;
    const bool is_low = std::find(kLowResource.begin(), kLowResource.end(), language.language) != kLowResource.end();
    (is_low ? low : high).push_back(&language);
  }
  std::vector<AverageScore> averages;
  if (!low.empty()) averages.push_back(average_of("low-resource", low));
  if (!high.empty()) averages.push_back(average_of("high-resource", high));
  averages.push_back(average_of("average", all));
  return averages;
}

/// The name of a language in a table: those outside the averages are marked.
std::string name_in_table(data::EvaluationTask task, const std::string& language) {
  return language + (is_averaged(task, language) ? "" : " *");
}

std::string footnote(const TaskReport& report) {
  const auto& languages = report.languages;
  const auto averaged = [&](const LanguageScore& language) { return is_averaged(report.task, language.language); };
  const bool some = std::any_of(languages.begin(), languages.end(), averaged);
  const bool all = std::all_of(languages.begin(), languages.end(), averaged);
  return some && !all ? "* not in the averages, because the paper has no number for it\n" : "";
}

std::string table_of_one(const TaskReport& report) {
  std::vector<std::vector<std::string>> rows{{"language", "accuracy", "95 % interval", "samples", "tokens/s"}};
  for (const LanguageScore& language : report.languages) {
    rows.push_back({name_in_table(report.task, language.language), percent(language.accuracy()),
                    interval_text(language.accuracy(), static_cast<double>(language.samples)),
                    std::to_string(language.samples), rate_text(language.tokens, language.generation_s)});
  }
  for (const AverageScore& average : report.averages) {
    rows.push_back({average.name, percent(average.accuracy), interval_text(average.accuracy, average.effective_samples),
                    std::to_string(average.samples), rate_text(average.tokens, average.generation_s)});
  }
  return aligned(rows);
}

std::string table_of_several(const std::vector<TaskReport>& reports) {
  const TaskReport& first = reports.front();
  std::vector<std::vector<std::string>> rows{{"language", "samples"}};
  for (const LanguageScore& language : first.languages) {
    rows.push_back({name_in_table(first.task, language.language), std::to_string(language.samples)});
  }
  for (const AverageScore& average : first.averages) rows.push_back({average.name, std::to_string(average.samples)});
  rows.push_back({"tokens/s", ""});
  for (const TaskReport& report : reports) {
    size_t row = 0;
    const auto add = [&](const std::string& accuracy, const std::string& interval) {
      rows[row].push_back(accuracy);
      rows[row++].push_back(interval);
    };
    add(report.mode, "95 % interval");
    for (const LanguageScore& language : report.languages) {
      add(percent(language.accuracy()), interval_text(language.accuracy(), static_cast<double>(language.samples)));
    }
    for (const AverageScore& average : report.averages) {
      add(percent(average.accuracy), interval_text(average.accuracy, average.effective_samples));
    }
    add(rate_text(report.averages.back().tokens, report.averages.back().generation_s), "");
  }
  return aligned(rows);
}

/// "layalign" or "llm, mapping, layalign"
template <class Report>
std::string modes_of(const std::vector<Report>& reports) {
  std::string text;
  for (const Report& report : reports) text += (text.empty() ? "" : ", ") + report.mode;
  return text;
}

}  // namespace

Interval wilson_interval(double accuracy, double samples) {
  constexpr double kZ = 1.959963984540054;  // the 97.5 % quantile of the normal distribution
  const double shrink = 1 + kZ * kZ / samples;
  const double centre = (accuracy + kZ * kZ / (2 * samples)) / shrink;
  const double half = kZ / shrink * std::sqrt(accuracy * (1 - accuracy) / samples + kZ * kZ / (4 * samples * samples));
  return {100 * std::max(0.0, centre - half), 100 * std::min(1.0, centre + half)};
}

double LanguageScore::accuracy() const { return static_cast<double>(correct) / static_cast<double>(samples); }

double LanguageScore::standard_error() const {
  if (samples < 2) return std::nan("");
  return std::sqrt(accuracy() * (1 - accuracy()) / static_cast<double>(samples - 1));
}

bool is_averaged(data::EvaluationTask task, const std::string& language) {
  return task != data::EvaluationTask::kMgsm || language != "Telugu";
}

std::vector<std::string> averaged_languages(data::EvaluationTask task, const std::vector<std::string>& languages) {
  std::vector<std::string> averaged;
  std::ranges::copy_if(languages, std::back_inserter(averaged),
                       [&](const auto& name) { return is_averaged(task, name); });
  return averaged.empty() ? languages : averaged;
}

TaskReport make_report(data::EvaluationTask task, const std::string& mode,
                       const std::vector<data::EvaluationItem>& items, const EvaluationOutputs& outputs) {
  TaskReport report{.task = task, .mode = mode, .items = {}, .languages = {}, .averages = {}};
  for (const data::EvaluationItem& item : items) {
    const GeneratedOutput* output = outputs.find(key_of(task, mode, item));
    if (!output) throw std::out_of_range(item.origin + ": the question has no output of the mode " + mode);
    report.items.push_back({item, *output, score(task, item.answer, output->text)});
    if (report.languages.empty() || report.languages.back().language != item.language) {
      report.languages.push_back({.language = item.language});
    }
    LanguageScore& language = report.languages.back();
    ++language.samples;
    language.correct += report.items.back().score.correct;
    language.tokens += output->tokens;
    language.generation_s += output->generation_s;
  }
  report.averages = averages_of(task, report.languages);
  return report;
}

std::string score_table(const std::vector<TaskReport>& reports) {
  const std::string title =
      std::string(data::name_of(reports.front().task)) + ": accuracy in percent, " + modes_of(reports);
  return title + '\n' + (reports.size() == 1 ? table_of_one(reports.front()) : table_of_several(reports)) +
         footnote(reports.front());
}

std::string perplexity_table(const std::vector<PerplexityReport>& reports) {
  const PerplexityReport& first = reports.front();
  std::vector<std::vector<std::string>> rows{{"language"}};
  for (const auto& row : first.languages) rows.push_back({row.language});
  rows.push_back({"all"});
  for (const PerplexityReport& report : reports) {
    rows[0].push_back(reports.size() == 1 ? "perplexity" : report.mode);
    for (size_t i = 0; i < report.languages.size(); ++i)
      rows[i + 1].push_back(format("%.4g", report.languages[i].perplexity));
    rows.back().push_back(format("%.4g", report.perplexity));
  }
  rows[0].push_back("label tokens");
  for (size_t i = 0; i < first.languages.size(); ++i)
    rows[i + 1].push_back(std::to_string(first.languages[i].label_tokens));
  rows.back().push_back(std::to_string(first.label_tokens));
  return "perplexity, " + modes_of(reports) + '\n' + aligned(rows);
}

}  // namespace layalign::trainer
