#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "configs/kinds.h"
#include "configs/reader.h"

namespace layalign::configs {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kIndent = 6;

// The words of `text` in lines of kWidth characters, each begun by kIndent blanks.
std::string wrapped(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string lines;
  std::string line;
  for (std::string word; words >> word;) {
    if (!line.empty() && kIndent + line.size() + 1 + word.size() > kWidth) {
      lines += std::string(kIndent, ' ') + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return lines + std::string(kIndent, ' ') + line + "\n";
}

template <Section S>
void describe_section(const S& section, const std::string& prefix, std::string& text);

template <typename T>
void describe_key(const Field& field, const T& value, const std::string& prefix, std::string& text) {
  const std::string key = prefix + std::string(field.name);
  if constexpr (std::is_same_v<T, std::vector<StageConfig>>) {
    text += "\n" + key + "  (required, a list)\n" + wrapped(field.doc);
    describe_section(StageConfig{}, key + "[].", text);
  } else if constexpr (Section<T>) {
    text += "\n" + key + (field.rule.required ? "  (required)" : "") + "\n" + wrapped(field.doc);
    describe_section(value, key + ".", text);
  } else {
    std::string fallback = "default: " + value_text(value);
    if (field.rule.required) fallback = "required";
    if (key == "stages[].name") fallback = "default: stage-1, stage-2, ...";
    text +=
        "  " + key + "  (" + fallback + ")\n" + wrapped(kind_text(value, field.rule) + ". " + std::string(field.doc));
  }
}

template <Section S>
void describe_section(const S& section, const std::string& prefix, std::string& text) {
  visit_fields(section, [&](const Field& field, const auto& value) { describe_key(field, value, prefix, text); });
}

}  // namespace

std::string help_text() {
  std::string text =
      "The keys of a config file (YAML or JSON), each with its default, allowed values and meaning.\n"
      "--set KEY=VALUE overrides a key of the file; stages count from 0 there: --set stages.0.lr=3.0e-5\n"
      "base: FILE at the top takes another file's keys; this file's are laid over them, stages by name:\n"
      "  base: ../math.yaml\n"
      "  stages: {task: {prompt: false}}   # null takes a stage away\n\n";
  describe_section(RunConfig{}, "", text);
  return text;
}

}  // namespace layalign::configs
