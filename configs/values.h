#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/kinds.h"
#include "configs/node.h"

// One function a type of key: each reads the node into `value` and gives "", or leaves `value` alone and gives the
// problem
// ("expected an integer of at least 1, got the text '5'").
namespace layalign::configs {

/// What a node is, for messages: "the number 0.5", "the list [...]", "nothing".
std::string describe(const Node& node);

/// Text is never empty and holds no control characters.
std::string read_value(const Node& node, const Rule& rule, std::string& value);
std::string read_value(const Node& node, const Rule& rule, bool& value);
std::string read_value(const Node& node, const Rule& rule, int64_t& value);
std::string read_value(const Node& node, const Rule& rule, double& value);
std::string read_value(const Node& node, const Rule& rule, std::array<double, 2>& value);
std::string read_value(const Node& node, const Rule& rule, LayerList& value);
std::string read_value(const Node& node, const Rule& rule, TensorSize& value);
std::string read_value(const Node& node, const Rule& rule, ByteSize& value);
std::string read_value(const Node& node, const Rule& rule, Duration& value);
/// No text twice.
std::string read_value(const Node& node, const Rule& rule, std::vector<std::string>& value);

/// null is the empty optional.
template <typename T>
std::string read_value(const Node& node, const Rule& rule, std::optional<T>& value) {
  if (node.kind == Node::Kind::kNull) {
    value.reset();
    return "";
  }
  T inner{};
  std::string problem = read_value(node, rule, inner);
  if (problem.empty()) value = std::move(inner);
  if (node.kind == Node::Kind::kEmpty) problem += "; write null where none is meant";
  return problem;
}

}  // namespace layalign::configs
