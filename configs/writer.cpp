#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "configs/kinds.h"
#include "configs/reader.h"

namespace layalign::configs {
namespace {

template <Section S>
void write_section(const S& section, const std::string& indent, std::string& text);

void write_value(const std::vector<StageConfig>& stages, const std::string& indent, std::string& text) {
  text += stages.empty() ? " []\n" : "\n";
  for (const StageConfig& stage : stages) {
    const size_t start = text.size();
    write_section(stage, indent + "    ", text);
    text[start + indent.size() + 2] = '-';  // "    name:" becomes "  - name:"
  }
}

template <typename T>
void write_value(const T& value, const std::string& indent, std::string& text) {
  if constexpr (Section<T>) {
    text += "\n";
    write_section(value, indent + "  ", text);
  } else {
    text.append(" ").append(value_text(value)).append("\n");
  }
}

template <Section S>
void write_section(const S& section, const std::string& indent, std::string& text) {
  visit_fields(section, [&](const Field& field, const auto& value) {
    text.append(indent).append(field.name).append(":");
    write_value(value, indent, text);
  });
}

using Leaves = std::vector<std::pair<std::string, std::string>>;

template <Section S>
void collect_leaves(const S& section, const std::string& prefix, Leaves& leaves) {
  visit_fields(section, [&](const Field& field, const auto& value) {
    using T = std::remove_cvref_t<decltype(value)>;
    const std::string key = prefix + std::string(field.name);
    if constexpr (std::is_same_v<T, std::vector<StageConfig>>) {
      for (size_t i = 0; i < value.size(); ++i)
        collect_leaves(value[i], std::string(key).append(".").append(std::to_string(i)).append("."), leaves);
    } else if constexpr (Section<T>) {
      collect_leaves(value, key + ".", leaves);
    } else {
      leaves.emplace_back(key, value_text(value));
    }
  });
}

std::string difference(const std::string& key, const std::string& a, const std::string& b) {
  return std::string(key).append(": ").append(a).append(" != ").append(b);
}

}  // namespace

std::string to_yaml(const RunConfig& config) {
  std::string text;
  write_section(config, "", text);
  return text;
}

std::vector<std::string> differences(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> lines;
  if (a.stages.size() != b.stages.size()) {
    lines.push_back(difference("stages", std::to_string(a.stages.size()), std::to_string(b.stages.size())));
  }
  Leaves leaves_a;
  Leaves leaves_b;
  collect_leaves(a, "", leaves_a);
  collect_leaves(b, "", leaves_b);
  const std::map<std::string, std::string> values_b(leaves_b.begin(), leaves_b.end());
  for (const auto& [key, value] : leaves_a) {
    const auto other = values_b.find(key);
    if (other != values_b.end() && other->second != value) lines.push_back(difference(key, value, other->second));
  }
  return lines;
}

}  // namespace layalign::configs
