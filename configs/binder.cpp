#include "configs/binder.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "configs/known_keys.h"
#include "configs/scalars.h"
#include "configs/spelling.h"
#include "configs/values.h"

namespace layalign::configs {
namespace {

std::string child_key(const std::string& section, std::string_view name) {
  return section.empty() ? std::string(name) : section + "." + std::string(name);
}

class Binder {
 public:
  explicit Binder(Report& report) : report_(report) {}

  void bind_document(const Node& document, RunConfig& config) {
    report_.set_place("", document.place);
    if (document.kind == Node::Kind::kEmpty) {
      bind_section({.kind = Node::Kind::kMap, .place = document.place}, "", config);
    } else {
      bind_value(document, Field{"", "", {}}, "", config);
    }
  }

 private:
  template <Section S>
  void bind_value(const Node& node, const Field&, const std::string& key, S& section) {
    if (node.kind == Node::Kind::kMap) return bind_section(node, key, section);
    report_.add(key,
                (key.empty() ? "the config" : "'" + key + "'") + ": expected keys and values, got " + describe(node));
  }

  void bind_value(const Node& node, const Field& field, const std::string& key, std::vector<StageConfig>& stages) {
    if (node.kind != Node::Kind::kList || node.items.empty()) {
      report_.add(key, "'" + key + "': expected a list of at least one stage, got " + describe(node));
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      const std::string stage_key = child_key(key, std::to_string(i));
      report_.set_place(stage_key, node.items[i].place);
      StageConfig& stage = stages.emplace_back();
      stage.name = "stage-" + std::to_string(i + 1);
      bind_value(node.items[i], field, stage_key, stage);
    }
  }

  template <typename T>
  void bind_value(const Node& node, const Field& field, const std::string& key, T& value) {
    const std::string problem = read_value(node, field.rule, value);
    if (!problem.empty()) report_.add(key, "'" + key + "': " + problem);
  }

  template <Section S>
  void bind_section(const Node& node, const std::string& key, S& section) {
    const std::map<std::string_view, const Entry*> entries = match_entries(node, key, field_names(section));
    visit_fields(section, [&](const Field& field, auto& value) {
      const std::string value_key = child_key(key, field.name);
      if (const auto found = entries.find(field.name); found != entries.end()) {
        const Entry& entry = *found->second;
        report_.set_place(value_key, entry.value.place);
        bind_value(entry.value, field, value_key, value);
      } else if (field.rule.required) {
        report_.add(value_key, "missing required key '" + value_key + "'");
        bind_missing(value_key, value);
      }
    });
  }

  // A missing section lacks its required keys too: name them at once.
  template <typename T>
  void bind_missing(const std::string& key, T& value) {
    if constexpr (Section<T>) bind_section({.kind = Node::Kind::kMap}, key, value);
  }

  // The entry of each known name. A misspelled key is reported and then read as the key that was meant, so that one
  // mistake makes one line and the mistakes inside it show as well.
  std::map<std::string_view, const Entry*> match_entries(const Node& node, const std::string& section,
                                                         const std::vector<std::string_view>& names) {
    std::map<std::string_view, const Entry*> matches;
    std::vector<const Entry*> unknown;
    for (const Entry& entry : node.entries) {
      const auto name = std::ranges::find(names, entry.key);
      if (name == names.end()) {
        unknown.push_back(&entry);
      } else if (const auto [first, is_new] = matches.emplace(*name, &entry); !is_new) {
        report_.add_at(entry.place, "duplicate key '" + child_key(section, entry.key) + "': it is already at " +
                                        first->second->place.text());
      }
    }
    std::set<std::string_view> seen;
    for (const Entry* entry : unknown) {
      const std::string again = seen.insert(entry->key).second ? "" : "duplicate and ";
      const auto near = nearest(entry->key, names);
      report_.add_at(entry->place, again + "unknown key '" + child_key(section, entry->key) + "'" +
                                       unknown_key_hint(entry->key, section, names));
      if (near) matches.emplace(*near, entry);
    }
    return matches;
  }

  static std::string unknown_key_hint(std::string_view name, const std::string& section,
                                      const std::vector<std::string_view>& names) {
    if (const auto here = nearest(name, names)) return "; did you mean '" + child_key(section, *here) + "'?";
    if (const auto elsewhere = nearest_key_anywhere(name)) return "; did you mean '" + *elsewhere + "'?";
    return "; the keys here are " + joined(names);
  }

  Report& report_;
};

}  // namespace

RunConfig bind(const Node& document, Report& report) {
  RunConfig config;
  Binder(report).bind_document(document, config);
  return config;
}

}  // namespace layalign::configs
