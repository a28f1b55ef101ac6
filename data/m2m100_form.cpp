#include "data/m2m100_form.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "configs/strict_json.h"
#include "data/error.h"
#include "data/sentencepiece_cutter.h"
#include "data/sentencepiece_forms.h"

namespace layalign::data {
namespace {

using nlohmann::json;
using std::filesystem::path;
using Kind = Piece::Kind;

// The languages of the models, by the place of their ids behind the vocabulary.
constexpr std::string_view kM2m100Languages[] = {
    "af", "am", "ar", "ast", "az", "ba",  "be", "bg", "bn", "br", "bs", "ca", "ceb", "cs", "cy", "da", "de",
    "el", "en", "es", "et",  "fa", "ff",  "fi", "fr", "fy", "ga", "gd", "gl", "gu",  "ha", "he", "hi", "hr",
    "ht", "hu", "hy", "id",  "ig", "ilo", "is", "it", "ja", "jv", "ka", "kk", "km",  "kn", "ko", "lb", "lg",
    "ln", "lo", "lt", "lv",  "mg", "mk",  "ml", "mn", "mr", "ms", "my", "ne", "nl",  "no", "ns", "oc", "or",
    "pa", "pl", "ps", "pt",  "ro", "ru",  "sd", "si", "sk", "sl", "so", "sq", "sr",  "ss", "su", "sv", "sw",
    "ta", "th", "tl", "tn",  "tr", "uk",  "ur", "uz", "vi", "wo", "xh", "yi", "yo",  "zh", "zu"};
constexpr std::string_view kWmt21Languages[] = {"en", "ha", "is", "ja", "cs", "ru", "zh", "de"};

std::span<const std::string_view> languages_of(const path& folder, const TokenizerSettings& settings) {
  if (settings.language_codes == "m2m100") return kM2m100Languages;
  if (settings.language_codes == "wmt21") return kWmt21Languages;
  throw DataError((folder / "tokenizer_config.json").string() + ": language_codes: '" + settings.language_codes +
                  "' is not known; expected m2m100 or wmt21");
}

// Settings under which ids would differ from what is done here.
void check_supported(const path& folder, const SentencePieceModel& model, const TokenizerSettings& settings) {
  const auto refuse = [&](const std::string& what) {
    throw DataError(folder.string() + ": " + what +
                    " is not readable in M2M100's form, for ids would differ. Use the files " +
                    "that the model came with, or a corpus of format token_ids.");
  };
  if (settings.has_sampling_options) refuse("sp_model_kwargs of tokenizer_config.json");
  if (model.algorithm != SentencePieceModel::Algorithm::kUnigram &&
      model.algorithm != SentencePieceModel::Algorithm::kBpe) {
    refuse("a SentencePiece model that is neither Unigram nor BPE");
  }
  if (model.space_behind) refuse("a SentencePiece model with treat_whitespace_as_suffix");
  if (!model.marks_spaces) refuse("a SentencePiece model without escape_whitespaces");
  if (model.byte_fallback) refuse("a SentencePiece model with byte_fallback");
  for (const Piece& piece : model.pieces) {
    if (piece.kind == Kind::kNormal || piece.kind == Kind::kUnknown || piece.kind == Kind::kControl) continue;
    refuse("a SentencePiece model in which '" + piece.text + "' is user-defined, unused or a byte");
  }
  for (const AddedToken& token : settings.declared_tokens) {
    if (token.single_word) refuse("single_word of the added token '" + token.content + "'");
  }
}

// The entries by id: all from 0 on, each once.
std::vector<Token> tokens_of(const json& object) {
  if (!object.is_object()) throw DataError("expected an object of pieces and their ids");
  if (object.empty()) throw DataError("no pieces in it");
  std::vector<Token> tokens(object.size());
  for (const auto& [text, id] : object.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= tokens.size()) {
      throw DataError("the id of '" + text + "' is " + id.dump() + "; expected each number from 0 to " +
                      std::to_string(tokens.size() - 1) + " once");
    }
    Token& token = tokens[id.get<uint64_t>()];
    if (token.id >= 0) {
      throw DataError("'" + token.text + "' and '" + text + "' have the same id " + std::to_string(token.id));
    }
    token = {text, id.get<int64_t>()};
  }
  return tokens;
}

std::vector<Token> read_vocabulary(const path& file) {
  const std::string advice = " Copy the file again from where the model comes from.";
  if (!std::filesystem::is_regular_file(file)) {
    throw DataError(file.string() + ": no such file, but M2M100 tokenizers have their ids in it." + advice);
  }
  try {
    return tokens_of(configs::parse_json(configs::read_text_file(file), file.string()));
  } catch (const configs::JsonError& error) {
    throw DataError(std::string(error.what()) + "." + advice);
  } catch (const DataError& error) {
    throw DataError(file.string() + ": " + error.what() + "." + advice);
  } catch (const std::system_error& error) {
    throw DataError(error.what());
  }
}

// The text of a token that must be among the entries.
std::string needed_text(const path& file, const std::string& role, const TokenizerSettings& settings,
                        const TokenVocabulary& vocabulary) {
  const std::optional<AddedToken>& named = settings.named_tokens.at(role);
  if (named && vocabulary.id_of(named->content)) return named->content;
  throw DataError(file.string() + ": lacks " + (named ? "'" + named->content + "', " : "") + "the " + role +
                  ". Copy the file again, or name one of its entries as " + role + " in tokenizer_config.json.");
}

void append_languages(const path& file, std::span<const std::string_view> languages, const TokenVocabulary& vocabulary,
                      std::vector<Token>& tokens) {
  for (const std::string_view code : languages) {
    std::string text = m2m100_language_token(code);
    if (vocabulary.id_of(text)) {
      throw DataError(file.string() + ": holds " + text + ", but M2M100's languages have their ids behind it. " +
                      "Copy the file again from where the model comes from.");
    }
    tokens.push_back({std::move(text), static_cast<int64_t>(tokens.size())});
  }
}

// The tokens to add, with the flags that transformers' class leaves them: it looks for all of them in the text as
// written, and takes only those that are declared with an id with the white space around them.
std::vector<AddedToken> added_tokens(const TokenizerSettings& settings) {
  const std::vector<AddedToken>& extra = settings.extra_tokens ? *settings.extra_tokens : settings.map_extra_tokens;
  std::unordered_set<std::string> special;
  for (const AddedToken& token : extra) special.insert(token.content);
  for (const auto& [role, token] : settings.named_tokens) {
    if (token) special.insert(token->content);
  }
  std::vector<AddedToken> tokens = tokens_to_add(settings, extra);
  for (AddedToken& token : tokens) {
    token.normalized = false;
    token.special = special.contains(token.content);
    if (token.id < 0) token.strip_left = token.strip_right = token.single_word = false;
  }
  return tokens;
}

// `entries`: the size of vocab.json. transformers gives a token that it does not know the number of those that it
// knows, without the languages that nobody named: ids are clear only where that is the place that we give it.
void add_tokens(const path& folder, int64_t entries, std::vector<AddedToken> tokens, TokenVocabulary& vocabulary) {
  const auto is_known = [&](const AddedToken& token) {
    return token.content.empty() || vocabulary.id_of(token.content).value_or(entries) < entries;
  };
  std::unordered_set<std::string> seen;
  int64_t next = entries;
  for (AddedToken& token : tokens) {
    const bool counts = !is_known(token) && seen.insert(token.content).second;
    const bool is_declared = token.id >= 0;
    const std::string content = token.content;
    vocabulary.add(std::move(token));
    if (!counts) continue;
    const int64_t id = *vocabulary.id_of(content);
    if (is_declared || id == next) {
      ++next;
      continue;
    }
    const std::string* owner = vocabulary.text_of(next);
    throw DataError(folder.string() + ": transformers gives the added token '" + content + "' the id " +
                    std::to_string(next) + ", which is " + (owner == nullptr ? "not its place" : *owner + "'s") +
                    ". Name all languages, in the order of their ids, or none among the additional special tokens, " +
                    "and other tokens behind them.");
  }
}

}  // namespace

std::string m2m100_language_token(std::string_view code) { return "__" + std::string(code) + "__"; }

TokenizerParts m2m100_parts(const path& folder, const SentencePieceModel& model, TokenizerSettings settings) {
  const path file = folder / kVocabularyFile;
  set_default_tokens(SentencePieceForm::kM2m100, settings);
  const auto languages = languages_of(folder, settings);
  check_supported(folder, model, settings);
  std::vector<Token> tokens = read_vocabulary(file);
  const auto entries = static_cast<int64_t>(tokens.size());
  const TokenVocabulary pieces(folder, tokens);
  const std::string unknown = needed_text(file, "unk_token", settings, pieces);
  needed_text(file, "eos_token", settings, pieces);
  append_languages(file, languages, pieces, tokens);

  TokenizerParts parts;
  TokenVocabulary& vocabulary = parts.vocabulary.emplace(folder, tokens);
  add_tokens(folder, entries, added_tokens(settings), vocabulary);
  for (const auto& [id, token] : vocabulary.added()) {
    if (id >= static_cast<int64_t>(entries + languages.size())) tokens.push_back({token.content, id});
  }
  parts.model = std::make_unique<SentencePieceCutter>(model, tokens, *vocabulary.id_of(unknown));
  parts.normalizers.push_back(sentencepiece_normalizer(model));
  parts.decoders.emplace().push_back(sentencepiece_decoder(model));
  parts.eos_id = eos_id(settings, vocabulary);
  parts.frame = frame_of(SentencePieceForm::kM2m100, settings, vocabulary);
  return parts;
}

}  // namespace layalign::data
