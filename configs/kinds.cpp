#include "configs/kinds.h"

#include <cmath>

#include "configs/scalars.h"
#include "configs/spelling.h"

namespace layalign::configs {
namespace {

template <typename Values, typename Format>
std::string list_text(const Values& values, Format format) {
  std::string text;
  for (const auto& value : values) text += (text.empty() ? "" : ", ") + format(value);
  return "[" + text + "]";
}

}  // namespace

std::string bounds_text(const Rule& rule) {
  if (rule.low_is_open) return " greater than " + format_number(rule.low);
  std::string text;
  if (std::isfinite(rule.low)) text += " of at least " + format_number(rule.low);
  if (std::isfinite(rule.high)) text += " and below " + format_number(rule.high);
  return text;
}

std::string kind_text(const std::string&, const Rule& rule) {
  return rule.choices.empty() ? "text" : "one of " + joined(rule.choices);
}
std::string kind_text(bool, const Rule&) { return "true or false"; }
std::string kind_text(int64_t, const Rule& rule) { return "an integer" + bounds_text(rule); }
std::string kind_text(double, const Rule& rule) { return "a number" + bounds_text(rule); }
std::string kind_text(const std::array<double, 2>&, const Rule& rule) {
  return "a list of two numbers, each" + bounds_text(rule);
}
std::string kind_text(const LayerList&, const Rule&) { return "default, all, first N, middle N, last N or a list of layer numbers"; }
std::string kind_text(const TensorSize& value, const Rule& rule) { return kind_text(value.ranks, rule) + ", or auto"; }
std::string kind_text(const ByteSize&, const Rule&) { return "a size such as 512MiB or 2GiB, or a number of bytes"; }
std::string kind_text(const Duration&, const Rule&) { return "a time such as 45s, 90m or 23h30m"; }
std::string kind_text(const std::vector<std::string>&, const Rule&) { return "a list of texts"; }

std::string value_text(const std::string& value) { return format_text(value); }
std::string value_text(bool value) { return value ? "true" : "false"; }
std::string value_text(int64_t value) { return std::to_string(value); }
std::string value_text(double value) { return format_number(value); }
std::string value_text(const std::array<double, 2>& value) { return list_text(value, format_number); }
std::string value_text(const LayerList& value) {
  if (value.kind == LayerList::Kind::kDefault) return "default";
  if (value.kind == LayerList::Kind::kAll) return "all";
  if (value.kind == LayerList::Kind::kFirst) return "first " + std::to_string(value.count);
  if (value.kind == LayerList::Kind::kMiddle) return "middle " + std::to_string(value.count);
  if (value.kind == LayerList::Kind::kLast) return "last " + std::to_string(value.count);
  return list_text(value.list, [](int64_t layer) { return std::to_string(layer); });
}
std::string value_text(const TensorSize& value) { return value.is_auto() ? "auto" : value_text(value.ranks); }
std::string value_text(const ByteSize& value) { return format_bytes(value.bytes); }
std::string value_text(const Duration& value) { return format_duration(value.seconds); }
std::string value_text(const std::vector<std::string>& value) { return list_text(value, format_text); }

}  // namespace layalign::configs
