#include "trainer/representations_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "trainer/durable_file.h"
#include "trainer/format.h"

namespace layalign::trainer {
namespace {

using Json = nlohmann::ordered_json;

std::string padded(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string table(const std::string& title, const RepresentationsReport& report, size_t least,
                  const std::function<std::string(const Similarity&)>& cell) {
  constexpr size_t kGap = 2;
  std::string text = "\n" + title + "\n" + padded("", 12);
  for (const auto& language : report.languages) text += padded(language, std::max(least, language.size()) + kGap);
  text += '\n';
  for (const auto& layer : report.layers) {
    text += layer.name + padded("", 12 - std::min<size_t>(12, layer.name.size()));
    for (size_t i = 0; i < report.languages.size(); ++i) {
      text += padded(cell(layer.languages[i]), std::max(least, report.languages[i].size()) + kGap);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string similarity_table(const RepresentationsReport& report) {
  const std::string subject =
      report.mode + " (" + report.weights + "), " + std::to_string(report.sentences) + " sentences";
  return table("retrieval of the English sentence in percent: " + subject, report, 5,
               [](const Similarity& similarity) { return format("%.1f", 100 * similarity.retrieval); }) +
         table("cosine to the English sentence (to the others): " + report.mode, report, 11,
               [](const Similarity& similarity) {
                 return format("%.2f", similarity.cosine) + " (" + format("%.2f", similarity.unrelated_cosine) + ")";
               });
}

void write_similarities(const std::filesystem::path& path, const RepresentationsReport& report) {
  Json layers = Json::object();
  for (const auto& layer : report.layers) {
    for (size_t i = 0; i < report.languages.size(); ++i) {
      const auto& similarity = layer.languages[i];
      const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
      layers[layer.name][report.languages[i]] = {{"retrieval", number(similarity.retrieval)},
                                                 {"cosine", number(similarity.cosine)},
                                                 {"unrelated_cosine", number(similarity.unrelated_cosine)}};
    }
  }
  const Json document{
      {"format", "layalign representations"}, {"version", 1},    {"mode", report.mode}, {"weights", report.weights},
      {"sentences", report.sentences},        {"layers", layers}};
  write_file_durably(path, document.dump(1) + "\n");
}

}  // namespace layalign::trainer
