#include "configs/values.h"

#include <algorithm>

#include "configs/scalars.h"
#include "configs/spelling.h"

namespace layalign::configs {
namespace {

bool in_bounds(double value, const Rule& rule) {
  return (rule.low_is_open ? value > rule.low : value >= rule.low) && value < rule.high;
}

std::string mismatch(const std::string& expected, const Node& node) {
  return "expected " + expected + ", got " + describe(node);
}

// How a scalar that is meant as a number should be written; empty where it is not near a number.
std::string number_hint(const Node& node) {
  if (node.kind == Node::Kind::kQuoted && looks_typed(node.text)) return " (remove the quotes)";
  if (node.kind != Node::Kind::kPlain || !looks_typed(node.text)) return "";
  return " (write numbers plainly: 10, 0.5, 1.0e-5)";
}

// The scalar, where it may be a size or a time: JSON can hold "45s" in quotes only, and a number stays one.
std::optional<std::string> text_with_unit(const Node& node) {
  const bool quoted = node.kind == Node::Kind::kQuoted && !looks_typed(node.text);
  return node.kind == Node::Kind::kPlain || quoted ? std::optional(node.text) : std::nullopt;
}

/// "first 8", "middle 8" or "last 8".
std::optional<LayerList> parse_layer_part(const std::string& text) {
  static constexpr std::array<std::pair<std::string_view, LayerList::Kind>, 3> kParts{
      {{"first ", LayerList::Kind::kFirst}, {"middle ", LayerList::Kind::kMiddle}, {"last ", LayerList::Kind::kLast}}};
  for (const auto& [prefix, kind] : kParts) {
    if (!text.starts_with(prefix)) continue;
    const auto count = parse_integer(text.substr(prefix.size()));
    if (count && *count > 0) return LayerList{kind, {}, *count};
  }
  return std::nullopt;
}

std::string text_problem(const std::string& text) {
  if (text.empty()) return "expected text, got an empty one";
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20; };
  if (std::ranges::any_of(text, is_control)) return "the text holds a control character, such as a line break or a tab";
  return "";
}

}  // namespace

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kEmpty:
      return "nothing";
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kList:
      return node.items.empty() ? "an empty list" : "a list";
    case Node::Kind::kMap:
      return "keys and values";
    case Node::Kind::kQuoted:
      return "the text \"" + node.text + "\"";
    case Node::Kind::kPlain:
      break;
  }
  if (node.text == "true" || node.text == "false") return node.text;
  if (parse_integer(node.text)) return "the integer " + node.text;
  if (parse_number(node.text)) {
    const bool is_integer = node.text.find_first_of(".eE") == std::string::npos;
    return "the number " + node.text + (is_integer ? ", which does not fit 64 bits" : "");
  }
  return "'" + node.text + "'";
}

std::string read_value(const Node& node, const Rule& rule, std::string& value) {
  const bool plain_text = node.kind == Node::Kind::kPlain && !looks_typed(node.text);
  if (node.kind != Node::Kind::kQuoted && !plain_text) {
    const bool quotable = node.kind == Node::Kind::kPlain && rule.choices.empty();
    return mismatch(kind_text(value, rule), node) + (quotable ? " (put it in quotes if it is text)" : "");
  }
  if (const std::string problem = text_problem(node.text); !problem.empty()) return problem;
  if (!rule.choices.empty() && std::ranges::find(rule.choices, node.text) == rule.choices.end()) {
    return "expected " + kind_text(value, rule) + ", got '" + node.text + "'" + suggestion(node.text, rule.choices);
  }
  value = node.text;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, bool& value) {
  if (node.kind != Node::Kind::kPlain || (node.text != "true" && node.text != "false")) {
    return mismatch(kind_text(value, rule), node);
  }
  value = node.text == "true";
  return "";
}

std::string read_value(const Node& node, const Rule& rule, int64_t& value) {
  const auto parsed = node.kind == Node::Kind::kPlain ? parse_integer(node.text) : std::nullopt;
  if (!parsed || !in_bounds(static_cast<double>(*parsed), rule)) {
    const bool fraction = node.kind == Node::Kind::kPlain && parse_number(node.text);
    return mismatch(kind_text(value, rule), node) + (parsed || fraction ? "" : number_hint(node));
  }
  value = *parsed;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, double& value) {
  const auto parsed = node.kind == Node::Kind::kPlain ? parse_number(node.text) : std::nullopt;
  if (!parsed || !in_bounds(*parsed, rule)) {
    return mismatch(kind_text(value, rule), node) + (parsed ? "" : number_hint(node));
  }
  value = *parsed;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, std::array<double, 2>& value) {
  if (node.kind != Node::Kind::kList || node.items.size() != value.size()) {
    const std::string count =
        node.items.empty() || node.kind != Node::Kind::kList ? "" : " of " + std::to_string(node.items.size());
    return mismatch(kind_text(value, rule), node) + count;
  }
  std::array<double, 2> numbers{};
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (const std::string problem = read_value(node.items[i], rule, numbers[i]); !problem.empty()) return problem;
  }
  value = numbers;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, LayerList& value) {
  if (node.kind == Node::Kind::kPlain || node.kind == Node::Kind::kQuoted) {
    static constexpr std::array<std::string_view, 2> kWords{"default", "all"};
    const auto word = std::ranges::find(kWords, node.text);
    if (word != kWords.end()) {
      value = {*word == "all" ? LayerList::Kind::kAll : LayerList::Kind::kDefault, {}, 0};
      return "";
    }
    const auto some = parse_layer_part(node.text);
    if (!some) return mismatch(kind_text(value, rule), node) + suggestion(node.text, kWords);
    value = *some;
    return "";
  }
  if (node.kind != Node::Kind::kList || node.items.empty()) return mismatch(kind_text(value, rule), node);
  LayerList layers{LayerList::Kind::kList, {}, 0};
  for (const Node& item : node.items) {
    int64_t layer = 0;
    if (const std::string problem = read_value(item, kFromZero, layer); !problem.empty()) return "a layer: " + problem;
    if (std::ranges::find(layers.list, layer) != layers.list.end()) {
      return "layer " + std::to_string(layer) + " is listed twice";
    }
    layers.list.push_back(layer);
  }
  value = std::move(layers);
  return "";
}

std::string read_value(const Node& node, const Rule& rule, TensorSize& value) {
  const bool is_word = node.kind == Node::Kind::kPlain || node.kind == Node::Kind::kQuoted;
  if (is_word && node.text == "auto") {
    value = 0;
    return "";
  }
  int64_t ranks = 0;
  if (!read_value(node, rule, ranks).empty()) return mismatch(kind_text(value, rule), node);
  value = ranks;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, ByteSize& value) {
  const auto text = text_with_unit(node);
  const auto parsed = text ? parse_bytes(*text) : std::nullopt;
  if (!parsed || !in_bounds(static_cast<double>(*parsed), rule)) {
    return mismatch(kind_text(value, rule), node) + (parsed ? "" : number_hint(node));
  }
  value.bytes = *parsed;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, Duration& value) {
  const auto text = text_with_unit(node);
  const auto parsed = text ? parse_duration(*text) : std::nullopt;
  if (!parsed || !in_bounds(static_cast<double>(*parsed), rule)) {
    return mismatch(kind_text(value, rule), node) + (parsed ? "" : number_hint(node));
  }
  value.seconds = *parsed;
  return "";
}

std::string read_value(const Node& node, const Rule& rule, std::vector<std::string>& value) {
  if (node.kind != Node::Kind::kList) return mismatch(kind_text(value, rule), node);
  std::vector<std::string> texts;
  for (const Node& item : node.items) {
    std::string text;
    if (const std::string problem = read_value(item, rule, text); !problem.empty()) return problem;
    if (std::ranges::find(texts, text) != texts.end()) return "'" + text + "' is listed twice";
    texts.push_back(std::move(text));
  }
  value = std::move(texts);
  return "";
}

}  // namespace layalign::configs
