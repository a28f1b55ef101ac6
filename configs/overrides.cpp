#include "configs/overrides.h"

#include <algorithm>
#include <string_view>

#include "configs/error.h"
#include "configs/scalars.h"

namespace layalign::configs {
namespace {

// An override has no lines: its name alone is the place of every part of its value.
void set_place(Node& node, const Place& place) {
  node.place = place;
  for (Node& item : node.items) set_place(item, place);
  for (Entry& entry : node.entries) {
    entry.place = place;
    set_place(entry.value, place);
  }
}

Node& list_item(Node& list, std::string_view word, const std::string& source) {
  const auto index = parse_integer(word);
  const auto count = static_cast<int64_t>(list.items.size());
  if (!index || *index < 0 || *index >= count) {
    const std::string range = count == 0 ? "the list is empty" : "expected 0 to " + std::to_string(count - 1);
    throw ConfigError(source + ": no item '" + std::string(word) + "' in the list: " + range);
  }
  return list.items[static_cast<size_t>(*index)];
}

Node& map_value(Node& map, std::string_view word, const Place& place) {
  const auto found = std::ranges::find(map.entries, word, &Entry::key);
  if (found != map.entries.end()) return found->value;
  return map.entries.emplace_back(Entry{std::string(word), place, {.place = place}}).value;
}

}  // namespace

void apply_override(Node& document, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  const std::string key = assignment.substr(0, equals);
  const Place place{"--set " + key};
  if (equals == std::string::npos || key.empty() || key.front() == '.' || key.back() == '.' ||
      key.find("..") != std::string::npos) {
    throw ConfigError("--set " + assignment + ": expected KEY=VALUE, such as --set optimizer.eps=1e-6");
  }
  Node value = read_document(std::string_view(assignment).substr(equals + 1), place.source);
  set_place(value, place);

  Node* node = &document;
  for (std::string_view rest = key; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (node->kind == Node::Kind::kList) {
      node = &list_item(*node, word, place.source);
      continue;
    }
    if (node->kind == Node::Kind::kEmpty || node->kind == Node::Kind::kNull) node->kind = Node::Kind::kMap;
    if (node->kind != Node::Kind::kMap) {
      throw ConfigError(place.source + ": '" + key.substr(0, static_cast<size_t>(word.data() - key.data()) - 1) +
                        "' is a single value, with no keys in it");
    }
    node = &map_value(*node, word, place);
  }
  *node = std::move(value);
}

}  // namespace layalign::configs
