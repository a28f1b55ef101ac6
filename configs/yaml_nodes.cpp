#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "configs/error.h"
#include "configs/node.h"

// yaml-cpp is used for its events only: its nodes keep the first of two equal keys, and its conversions read 010 as 8
// and take .nan for a number.
namespace layalign::configs {
namespace {

constexpr size_t kMaxDepth = 64;

class YamlNodes : public YAML::EventHandler {
 public:
  YamlNodes(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  Node take_root() { return std::move(root_); }
  const std::vector<std::string>& problems() const { return problems_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_extras(mark, "?", anchor);
    const Node::Kind kind = is_written_null(mark) ? Node::Kind::kNull : Node::Kind::kEmpty;
    put(mark, {.kind = kind, .place = place(mark)});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not read: write the value again");
    put(mark, {.kind = Node::Kind::kNull, .place = place(mark)});
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_extras(mark, tag, anchor);
    require_closed_quotes(mark);
    const Node::Kind kind = tag == "?" ? Node::Kind::kPlain : Node::Kind::kQuoted;
    put(mark, {.kind = kind, .text = value, .place = place(mark)});
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::kList);
  }
  void OnSequenceEnd() override { open_.pop_back(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::kMap);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    Node* node;
    bool key_read = false;
  };

  size_t offset(const YAML::Mark& mark) const { return mark.pos < 0 ? 0 : static_cast<size_t>(mark.pos); }
  Place place(const YAML::Mark& mark) const { return place_at(source_, text_, offset(mark)); }
  void refuse(const YAML::Mark& mark, const std::string& problem) {
    problems_.push_back(place(mark).text() + ": " + problem);
  }

  // "key:" and "key: null" are the same event, so the text decides; the mark of "key:" is that of the next token.
  bool is_written_null(const YAML::Mark& mark) const {
    const std::string_view rest = text_.substr(std::min(offset(mark), text_.size()));
    for (const std::string_view word : {"~", "null", "Null", "NULL"}) {
      if (rest.starts_with(word) &&
          std::string_view(" \t\r\n,]}").find(rest.substr(word.size(), 1)) != std::string_view::npos) {
        return true;
      }
    }
    return false;
  }

  void refuse_extras(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) refuse(mark, "anchors (&name) are not read: write the value where it is used");
    // "!" is what yaml-cpp calls quoted and block scalars; a tag that is written so begins the value in the text.
    if ((!tag.empty() && tag != "?" && tag != "!") ||
        text_.substr(std::min(offset(mark), text_.size())).starts_with('!')) {
      refuse(mark, "tags (!name) are not read: remove it");
    }
  }

  // yaml-cpp takes the end of the text for the closing quote.
  void require_closed_quotes(const YAML::Mark& mark) {
    const std::string_view rest = text_.substr(std::min(offset(mark), text_.size()));
    if (!rest.starts_with('"') && !rest.starts_with('\'')) return;
    const std::string_view escape = rest[0] == '"' ? "\\" : "''";  // \x in "...", '' in '...'
    size_t at = 1;
    for (bool escaped = false; at < rest.size(); at += escaped ? 2 : 1) {
      escaped = rest.substr(at).starts_with(escape);
      if (!escaped && rest[at] == rest[0]) return;
    }
    throw ConfigError(place(mark).text() + ": YAML syntax: the quote is not closed");
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Node::Kind kind) {
    refuse_extras(mark, tag, anchor);
    if (open_.size() == kMaxDepth) {
      throw ConfigError(place(mark).text() + ": more than " + std::to_string(kMaxDepth) + " levels of nesting");
    }
    open_.push_back({&put(mark, {.kind = kind, .place = place(mark)})});
  }

  Node& put(const YAML::Mark& mark, Node node) {
    if (open_.empty()) return root_ = std::move(node);
    Open& parent = open_.back();
    if (parent.node->kind == Node::Kind::kList) return parent.node->items.emplace_back(std::move(node));
    std::vector<Entry>& entries = parent.node->entries;
    parent.key_read = !parent.key_read;
    if (parent.key_read) {
      require_key(mark, node);
      return entries.emplace_back(Entry{std::move(node.text), std::move(node.place), {}}).value;
    }
    Node& value = entries.back().value;
    value = std::move(node);
    if (value.kind == Node::Kind::kEmpty) value.place = entries.back().place;
    return value;
  }

  void require_key(const YAML::Mark& mark, const Node& node) {
    if (node.kind != Node::Kind::kPlain && node.kind != Node::Kind::kQuoted) {
      throw ConfigError(place(mark).text() + ": expected a plain word as key: is a bracket not closed?");
    }
    if (node.text == "<<") refuse(mark, "merge keys (<<) are not read: write the values where they are used");
  }

  std::string_view text_;
  const std::string& source_;
  Node root_;
  std::vector<Open> open_;
  std::vector<std::string> problems_;
};

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

}  // namespace

Node read_yaml(std::string_view text, const std::string& source) {
  // yaml-cpp skips such a line without a word.
  const size_t directive = text.starts_with('%') ? 0 : text.find("\n%") + 1;  // npos + 1 is 0: none
  if (text.substr(directive).starts_with('%')) {
    throw ConfigError(place_at(source, text, directive).text() +
                      ": directives (%) are not read: comments begin with #");
  }
  YamlNodes nodes(text, source);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(nodes)) return {.place = {source, 1, 1}};
    YamlNodes rest(text, source);
    if (parser.HandleNextDocument(rest)) {
      throw ConfigError(rest.take_root().place.text() + ": a second document: a config is one document, without ---");
    }
  } catch (const YAML::Exception& error) {
    const Place place =
        error.mark.is_null() ? Place{source} : place_at(source, text, static_cast<size_t>(error.mark.pos));
    throw ConfigError(place.text() + ": YAML syntax: " + error.msg);
  }
  if (!nodes.problems().empty()) throw ConfigError(joined(nodes.problems()));
  return nodes.take_root();
}

}  // namespace layalign::configs
