#include "configs/base.h"

#include <algorithm>
#include <system_error>
#include <vector>

#include "configs/error.h"
#include "configs/scalars.h"
#include "configs/strict_json.h"

namespace layalign::configs {
namespace {

constexpr const char* kBase = "base";

std::vector<Entry>::iterator find_key(Node& map, std::string_view key) {
  return std::ranges::find(map.entries, key, &Entry::key);
}

/// The item of a list that a key means: its place, or its name.
std::vector<Node>::iterator find_item(Node& list, const Entry& entry) {
  if (const auto index = parse_integer(entry.key); index && *index >= 0 && *index < static_cast<int64_t>(list.items.size())) {
    return list.items.begin() + *index;
  }
  const auto found = std::ranges::find_if(list.items, [&](Node& item) {
    const auto name = find_key(item, "name");
    return name != item.entries.end() && name->value.text == entry.key;
  });
  if (found == list.items.end()) {
    throw ConfigError(entry.place.text() + ": the list of the base has no item '" + entry.key + "', neither by place nor by name");
  }
  return found;
}

void lay_over(Node& below, const Node& above);

void lay_over_items(Node& list, const Node& above) {
  for (const Entry& entry : above.entries) {
    const auto item = find_item(list, entry);
    if (entry.value.kind != Node::Kind::kNull) lay_over(*item, entry.value);
  }
  // Items are taken away last: until then each keeps its place.
  std::vector<const Node*> gone;
  for (const Entry& entry : above.entries) {
    if (entry.value.kind == Node::Kind::kNull) gone.push_back(&*find_item(list, entry));
  }
  std::vector<Node> kept;
  for (Node& item : list.items) {
    if (std::ranges::find(gone, &item) == gone.end()) kept.push_back(std::move(item));
  }
  list.items = std::move(kept);
}

void lay_over(Node& below, const Node& above) {
  if (above.kind == Node::Kind::kMap && below.kind == Node::Kind::kList) return lay_over_items(below, above);
  if (above.kind != Node::Kind::kMap || below.kind != Node::Kind::kMap) {
    below = above;
    return;
  }
  std::vector<std::string> seen;
  for (const Entry& entry : above.entries) {
    const auto found = find_key(below, entry.key);
    const bool repeated = std::ranges::find(seen, entry.key) != seen.end();  // left for the reader to refuse
    seen.push_back(entry.key);
    if (found == below.entries.end() || repeated) {
      below.entries.push_back(entry);
    } else {
      found->place = entry.place;
      lay_over(found->value, entry.value);
    }
  }
}

Node read_chain(const std::filesystem::path& file, std::vector<std::filesystem::path>& chain) {
  Node document;
  try {
    document = read_document(read_text_file(file), file.string());
  } catch (const std::system_error& error) {
    throw ConfigError(error.what());
  }
  const auto base = find_key(document, kBase);
  if (base == document.entries.end()) return document;
  const auto where = base->value.place.text();
  if (base->value.kind != Node::Kind::kPlain && base->value.kind != Node::Kind::kQuoted) {
    throw ConfigError(where + ": 'base': expected the path of a config file");
  }
  const auto path = (file.parent_path() / base->value.text).lexically_normal();
  if (std::ranges::find(chain, path) != chain.end()) throw ConfigError(where + ": 'base': " + path.string() + " leads back to itself");
  chain.push_back(path);
  document.entries.erase(base);
  if (find_key(document, kBase) != document.entries.end()) throw ConfigError(where + ": 'base' is given twice");
  Node below;
  try {
    below = read_chain(path, chain);
  } catch (const ConfigError& error) {
    throw ConfigError(where + ": 'base':\n" + error.what());
  }
  lay_over(below, document);
  return below;
}

}  // namespace

Node read_with_base(const std::filesystem::path& file) {
  std::vector<std::filesystem::path> chain = {file.lexically_normal()};
  return read_chain(file, chain);
}

}  // namespace layalign::configs
