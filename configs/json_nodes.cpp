#include <vector>

#include "configs/error.h"
#include "configs/json_events.h"
#include "configs/node.h"
#include "configs/strict_json.h"

namespace layalign::configs {
namespace {

class JsonNodes : public JsonEvents {
 public:
  JsonNodes(std::string_view text, const std::string& source) : JsonEvents(text), text_(text), source_(source) {}

  Node build() {
    run();
    return std::move(root_);
  }

 private:
  Place place() const { return place_at(source_, text_, token_offset()); }

  void on_open(bool is_object) override {
    open_.push_back(&put({.kind = is_object ? Node::Kind::kMap : Node::Kind::kList, .place = place()}));
  }
  void on_close() override { open_.pop_back(); }
  void on_key(std::string key) override { open_.back()->entries.push_back({std::move(key), place(), {}}); }

  void on_scalar(nlohmann::json value) override {
    if (value.is_null()) {
      put({.kind = Node::Kind::kNull, .place = place()});
    } else if (value.is_string()) {
      put({.kind = Node::Kind::kQuoted, .text = value.get<std::string>(), .place = place()});
    } else {
      put({.kind = Node::Kind::kPlain, .text = std::string(token()), .place = place()});
    }
  }

  Node& put(Node node) {
    if (open_.empty()) return root_ = std::move(node);
    Node& parent = *open_.back();
    if (parent.kind == Node::Kind::kMap) return parent.entries.back().value = std::move(node);
    return parent.items.emplace_back(std::move(node));
  }

  std::string_view text_;
  const std::string& source_;
  Node root_;
  std::vector<Node*> open_;
};

}  // namespace

Node read_json(std::string_view text, const std::string& source) {
  try {
    return JsonNodes(text, source).build();
  } catch (const JsonError& error) {
    throw ConfigError(place_at(source, text, error.byte).text() + ": JSON " + error.what());
  }
}

}  // namespace layalign::configs
