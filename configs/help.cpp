#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include "configs/kinds.h"
#include "configs/languages.h"
#include "configs/reader.h"

namespace layalign::configs {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kIndent = 6;

struct Key {
  std::string path;
  std::string fallback;  // its default; empty where it is required
  std::string values;
  std::string_view meaning;
};

/// A section with the keys of its own, without those of the sections in it.
struct Part {
  std::string path;  // empty: the top of the file
  std::string note;
  std::string_view meaning;
  std::vector<Key> keys{};
};

template <Section S>
void collect(const S& section, const Part& part, std::vector<Part>& parts) {
  const size_t place = parts.size();
  parts.push_back(part);
  const std::string prefix = part.path.empty() ? "" : part.path + ".";
  visit_fields(section, [&](const Field& field, const auto& value) {
    using T = std::remove_cvref_t<decltype(value)>;
    const std::string path = prefix + std::string(field.name);
    if constexpr (std::is_same_v<T, std::vector<StageConfig>>) {
      collect(StageConfig{}, {path + "[]", "required, a list", field.doc}, parts);
    } else if constexpr (Section<T>) {
      collect(value, {path, field.rule.required ? "required" : "", field.doc}, parts);
    } else {
      std::string fallback = field.rule.required ? "" : value_text(value);
      if (path == "stages[].name") fallback = "stage-1, stage-2, ...";
      parts[place].keys.push_back({path, fallback, kind_text(value, field.rule), field.doc});
    }
  });
}

std::vector<Part> all_parts() {
  std::vector<Part> parts;
  collect(RunConfig{}, {"", "", "The run as a whole."}, parts);
  return parts;
}

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

}  // namespace

std::string help_text() {
  std::string text =
      "The keys of a config file (YAML or JSON), each with its default, allowed values and meaning.\n"
      "--set KEY=VALUE overrides a key of the file; stages count from 0 there: --set stages.0.lr=3.0e-5\n"
      "base: FILE at the top takes another file's keys; this file's are laid over them, stages by name:\n"
      "  base: ../math.yaml\n"
      "  stages: {task: {prompt: false}}   # null takes a stage away\n";
  for (const Part& part : all_parts()) {
    text += "\n";
    if (!part.path.empty())
      text += part.path + (part.note.empty() ? "" : "  (" + part.note + ")") + "\n" + wrapped(part.meaning);
    for (const Key& key : part.keys) {
      text += "  " + key.path + "  (" + (key.fallback.empty() ? "required" : "default: " + key.fallback) + ")\n" +
              wrapped(key.values + ". " + std::string(key.meaning));
    }
  }
  return text;
}

std::string help_markdown() {
  std::string text;
  for (const Part& part : all_parts()) {
    text += "## " + (part.path.empty() ? "Top of the file" : part.path) + "\n" + std::string(part.meaning) +
            (part.note.empty() ? "" : " (" + part.note + ")") +
            "\n\n| key | default | values | meaning |\n|---|---|---|---|\n";
    for (const Key& key : part.keys) {
      text += "| `" + key.path + "` | " + (key.fallback.empty() ? "required" : "`" + key.fallback + "`") + " | " +
              key.values + " | " + std::string(key.meaning) + " |\n";
    }
    text += "\n";
  }
  text +=
      "## Languages\nThe names, with their code in file names and for M2M100, and that for NLLB.\n\n| name | code | "
      "NLLB |\n|---|---|---|\n";
  for (const Language& language : kLanguages) {
    text.append("| ").append(language.name).append(" | `").append(language.code).append("` | `");
    text.append(language.nllb_code).append("` |\n");
  }
  return text;
}

}  // namespace layalign::configs
