#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/fields.h"

// What the type of a key is called in messages and in the help: "an integer of at least 1".
namespace layalign::configs {

/// The bounds of a rule, such as " of at least 0 and below 1"; empty where it has none.
std::string bounds_text(const Rule& rule);

/// The values that a key of this type may have (the first argument only picks the type).
std::string kind_text(const std::string&, const Rule& rule);
std::string kind_text(bool, const Rule& rule);
std::string kind_text(int64_t, const Rule& rule);
std::string kind_text(double, const Rule& rule);
std::string kind_text(const std::array<double, 2>&, const Rule& rule);
std::string kind_text(const LayerList&, const Rule& rule);
std::string kind_text(const TensorSize&, const Rule& rule);
std::string kind_text(const ByteSize&, const Rule& rule);
std::string kind_text(const Duration&, const Rule& rule);
std::string kind_text(const std::vector<std::string>&, const Rule& rule);

template <typename T>
std::string kind_text(const std::optional<T>&, const Rule& rule) {
  return kind_text(T{}, rule) + ", or null";
}

/// The value as YAML on one line.
std::string value_text(const std::string& value);
std::string value_text(bool value);
std::string value_text(int64_t value);
std::string value_text(double value);
std::string value_text(const std::array<double, 2>& value);
std::string value_text(const LayerList& value);
std::string value_text(const TensorSize& value);
std::string value_text(const ByteSize& value);
std::string value_text(const Duration& value);
std::string value_text(const std::vector<std::string>& value);

template <typename T>
std::string value_text(const std::optional<T>& value) {
  return value ? value_text(*value) : "null";
}

}  // namespace layalign::configs
