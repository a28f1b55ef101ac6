#include "data/tokenizer_json.h"

#include <algorithm>
#include <cmath>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "configs/strict_json.h"
#include "data/bpe.h"
#include "data/sentencepiece_forms.h"
#include "data/tokenizer_components.h"
#include "data/unigram.h"
#include "data/word_piece.h"

namespace layalign::data {
namespace {

using nlohmann::json;
using std::filesystem::path;

json read_file(const path& file) {
  try {
    return configs::parse_json(configs::read_text_file(file), file.string());
  } catch (const configs::JsonError& error) {
    throw DataError(error.what());
  } catch (const std::system_error& error) {
    throw DataError(error.what());
  }
}

// {text: id}
std::vector<Token> read_vocabulary(JsonFields& model) {
  JsonFields vocabulary = model.object("vocab");
  std::vector<Token> tokens;
  for (const auto& [text, id] : model.value("vocab").items()) {
    if (!text.empty()) tokens.push_back({text, vocabulary.count(text)});
  }
  if (tokens.empty()) model.fail("vocab", "is empty");
  return tokens;
}

// "left right" or ["left", "right"]
std::pair<std::string, std::string> read_pair(const json& merge, const JsonFields& model, size_t place) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  const std::string text = merge.is_string() ? merge.get<std::string>() : "";
  const size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) {
    model.fail("merges[" + std::to_string(place) + "]", "expected two texts");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

std::vector<BpeMerge> read_merges(JsonFields& model, const std::vector<Token>& tokens, const std::string& prefix) {
  std::unordered_map<std::string_view, int64_t> ids;
  for (const Token& token : tokens) ids[token.text] = token.id;
  std::vector<BpeMerge> merges;
  for (const json& merge : model.list("merges")) {
    const auto [left, right] = read_pair(merge, model, merges.size());
    const auto id = [&](const std::string& text) {
      const auto found = ids.find(text);
      if (found != ids.end()) return found->second;
      model.fail("merges[" + std::to_string(merges.size()) + "]", "'" + text + "' is not in vocab");
    };
    const size_t shared = std::min(prefix.size(), right.size());
    merges.push_back({id(left), id(right), id(left + right.substr(shared))});
  }
  return merges;
}

std::unique_ptr<const TokenModel> read_bpe(JsonFields& model, std::vector<Token>& tokens) {
  tokens = read_vocabulary(model);
  model.skip("dropout");
  if (model.has("dropout") && model.value("dropout") != 0) model.fail("dropout", "must be null: ids would be random");
  BpeRules rules;
  rules.continuing_prefix = model.text_or("continuing_subword_prefix", "");
  rules.end_suffix = model.text_or("end_of_word_suffix", "");
  rules.fuse_unknown = model.flag_or("fuse_unk", false);
  rules.byte_fallback = model.flag_or("byte_fallback", false);
  rules.whole_words_first = model.flag_or("ignore_merges", false);
  rules.merges = read_merges(model, tokens, rules.continuing_prefix);
  const std::string unknown = model.text_or("unk_token", "");
  const auto same = [&](const Token& token) { return token.text == unknown; };
  const auto found = std::ranges::find_if(tokens, same);
  if (!unknown.empty()) rules.unknown_id = found == tokens.end() ? BpeRules::kNoUnknown : found->id;
  return std::make_unique<Bpe>(tokens, std::move(rules));
}

// [[text, score], ...] by id
std::unique_ptr<const TokenModel> read_unigram(JsonFields& model, std::vector<Token>& tokens) {
  std::vector<Piece> pieces;
  for (const json& entry : model.list("vocab")) {
    const bool fits = entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number() &&
                      std::isfinite(entry[1].get<double>());
    if (!fits) model.fail("vocab[" + std::to_string(pieces.size()) + "]", "expected a text and its score");
    Piece piece;
    piece.text = entry[0].get<std::string>();
    piece.score = entry[1].get<double>();
    tokens.push_back({piece.text, static_cast<int64_t>(pieces.size())});
    pieces.push_back(std::move(piece));
  }
  const int64_t unknown_id = model.count("unk_id");
  if (unknown_id >= static_cast<int64_t>(pieces.size())) model.fail("unk_id", "is outside vocab");
  return std::make_unique<Unigram>(pieces, unknown_id, model.flag_or("byte_fallback", false));
}

std::unique_ptr<const TokenModel> read_word_piece(JsonFields& model, std::vector<Token>& tokens) {
  tokens = read_vocabulary(model);
  WordPieceRules rules;
  const std::string unknown = model.text_or("unk_token", "[UNK]");
  const auto found = std::ranges::find_if(tokens, [&](const Token& token) { return token.text == unknown; });
  if (found == tokens.end()) model.fail("unk_token", "'" + unknown + "' is not in vocab");
  rules.unknown_id = found->id;
  rules.continuing_prefix = model.text_or("continuing_subword_prefix", rules.continuing_prefix);
  rules.max_characters = model.count_or("max_input_chars_per_word", rules.max_characters);
  return std::make_unique<WordPiece>(tokens, std::move(rules));
}

std::unique_ptr<const TokenModel> read_model(JsonFields model, std::vector<Token>& tokens) {
  // Files of older libraries do not say the type.
  const bool is_list = model.has("vocab") && model.value("vocab").is_array();
  const std::string type = model.text_or("type", is_list ? "Unigram" : model.has("merges") ? "BPE" : "WordPiece");
  std::unique_ptr<const TokenModel> made;
  if (type == "BPE") {
    made = read_bpe(model, tokens);
  } else if (type == "Unigram") {
    made = read_unigram(model, tokens);
  } else if (type == "WordPiece") {
    made = read_word_piece(model, tokens);
  } else {
    model.fail("type", "'" + type + "' is not readable here; known are BPE, Unigram, WordPiece");
  }
  model.finish();
  return made;
}

// The file's added tokens by id; tokenizer_config.json may say more of them, and has the last word on how they are
// found.
std::vector<AddedToken> read_added_tokens(JsonFields& file, const TokenizerSettings& settings) {
  std::vector<AddedToken> tokens;
  for (JsonFields& fields : file.objects("added_tokens")) {
    AddedToken token;
    token.id = fields.count("id");
    token.content = fields.text("content");
    token.special = fields.flag_or("special", false);
    token.strip_left = fields.flag_or("lstrip", false);
    token.strip_right = fields.flag_or("rstrip", false);
    token.single_word = fields.flag_or("single_word", false);
    token.normalized = fields.flag_or("normalized", !token.special);
    fields.finish();
    tokens.push_back(std::move(token));
  }
  std::unordered_map<std::string, size_t> places;
  for (const AddedToken& token : tokens) places.emplace(token.content, places.size());
  for (const AddedToken& token : settings.declared_tokens) {
    const auto found = places.find(token.content);
    if (found == places.end()) {
      tokens.push_back(token);
    } else {
      tokens[found->second] = token;
    }
  }
  std::ranges::stable_sort(tokens, {}, &AddedToken::id);
  return tokens;
}

// [text, id]
int64_t read_processing_token(JsonFields& fields, const std::string& key) {
  const json& pair = fields.list(key);
  if (pair.size() != 2 || !pair[1].is_number_unsigned()) fields.fail(key, "expected a text and its id");
  return pair[1].get<int64_t>();
}

// A template for one text: special tokens, the text ("A"), special tokens.
Frame read_template(JsonFields& fields) {
  JsonFields tokens = fields.object("special_tokens");
  Frame frame;
  int texts = 0;
  for (JsonFields& item : fields.objects("single")) {
    if (item.has("Sequence")) {
      item.skip("Sequence");
      ++texts;
    } else {
      const std::string name = item.object("SpecialToken").text("id");
      JsonFields token = tokens.object(name);
      for (const json& id : token.list("ids")) {
        if (!id.is_number_unsigned()) token.fail("ids", "expected token ids");
        (texts == 0 ? frame.before : frame.after).push_back(id.get<int64_t>());
      }
    }
    item.finish();
  }
  if (texts != 1) fields.fail("single", "expected the text once, got it " + std::to_string(texts) + " times");
  fields.skip("pair");
  return frame;
}

void add_frame(JsonFields fields, Frame& frame) {
  const std::string type = fields.text("type");
  Frame outer;
  if (type == "Sequence") {
    for (JsonFields& item : fields.objects("processors")) add_frame(std::move(item), frame);
  } else if (type == "TemplateProcessing") {
    outer = read_template(fields);
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    outer = {{read_processing_token(fields, "cls")}, {read_processing_token(fields, "sep")}};
    for (const char* key : {"trim_offsets", "add_prefix_space"}) fields.skip(key);
  } else if (type == "ByteLevel") {
    for (const char* key : {"trim_offsets", "add_prefix_space", "use_regex"}) fields.skip(key);
  } else {
    fields.fail("type", "'" + type + "' is not readable here; known are Sequence, TemplateProcessing, " +
                            "RobertaProcessing, BertProcessing, ByteLevel");
  }
  fields.finish();
  frame.before.insert(frame.before.begin(), outer.before.begin(), outer.before.end());
  frame.after.insert(frame.after.end(), outer.after.begin(), outer.after.end());
}

// What transformers makes of the post-processor: NLLB and M2M100 have their languages; add_bos_token or add_eos_token
// replace it.
FrameRule frame_rule(Frame frame, const TokenizerSettings& settings, const TokenVocabulary& vocabulary) {
  const auto form = form_of_class(settings.tokenizer_class);
  if (form == SentencePieceForm::kNllb || form == SentencePieceForm::kM2m100) {
    return frame_of(*form, settings, vocabulary);
  }
  FrameRule rule;
  rule.fixed = std::move(frame);
  const bool has_own = form && form != SentencePieceForm::kLlama;
  if (has_own || (!settings.add_bos_token && !settings.add_eos_token)) return rule;
  rule.fixed = {};
  const auto id = [&](const char* role) -> std::vector<int64_t> {
    const auto named = settings.named_tokens.find(role);
    if (named == settings.named_tokens.end() || !named->second) return {};
    return {vocabulary.id_of(named->second->content, role)};
  };
  if (settings.add_bos_token.value_or(false)) rule.fixed.before = id("bos_token");
  if (settings.add_eos_token.value_or(false)) rule.fixed.after = id("eos_token");
  return rule;
}

// Names the end token that the class has where the settings name none.
void set_default_eos(TokenizerSettings& settings) {
  std::string name = settings.tokenizer_class;
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  std::string content;
  if (form_of_class(name) || form_of_model_type(settings.model_type)) content = "</s>";
  if (name == "GPT2Tokenizer" || name == "Qwen2Tokenizer") content = "<|endoftext|>";
  if (name == "BertTokenizer" || settings.model_type == "bert") content = "[SEP]";
  if (!content.empty()) settings.named_tokens.try_emplace("eos_token", AddedToken{.content = content, .special = true});
}

}  // namespace

TokenizerParts tokenizer_json_parts(const path& folder, const TokenizerSettings& given) {
  const json whole = read_file(folder / "tokenizer.json");
  JsonFields file(whole, (folder / "tokenizer.json").string() + ": $");
  // Cutting and padding are the caller's, not the file's: transformers ignores these two as well.
  for (const char* key : {"version", "truncation", "padding"}) file.skip(key);
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) file.skip(key);

  TokenizerSettings settings = given;
  set_default_eos(settings);
  TokenizerParts parts;
  if (file.has("normalizer")) read_normalizer(file.object("normalizer"), parts.normalizers);
  if (file.has("pre_tokenizer")) read_pre_tokenizer(file.object("pre_tokenizer"), parts.pre_tokenizers);
  if (file.has("decoder")) read_decoder(file.object("decoder"), parts.decoders.emplace());
  std::vector<Token> tokens;
  parts.model = read_model(file.object("model"), tokens);
  parts.vocabulary.emplace(folder, tokens);
  settings.declared_tokens = read_added_tokens(file, settings);
  const std::vector<AddedToken> extra = settings.extra_tokens.value_or(settings.map_extra_tokens);
  for (AddedToken& token : tokens_to_add(settings, extra)) parts.vocabulary->add(std::move(token));
  parts.eos_id = eos_id(settings, *parts.vocabulary);
  Frame frame;
  if (file.has("post_processor")) add_frame(file.object("post_processor"), frame);
  parts.frame = frame_rule(std::move(frame), settings, *parts.vocabulary);
  file.finish();
  return parts;
}

}  // namespace layalign::data
