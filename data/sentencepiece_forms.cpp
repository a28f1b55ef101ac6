#include "data/sentencepiece_forms.h"

#include <iterator>
#include <utility>

#include "configs/languages.h"
#include "data/bpe.h"
#include "data/error.h"
#include "data/m2m100_form.h"
#include "data/text_space.h"
#include "data/unigram.h"

namespace layalign::data {
namespace {

using Algorithm = SentencePieceModel::Algorithm;
using Form = SentencePieceForm;

constexpr std::string_view kSentinel = "<extra_id_";
constexpr int kMadeUpWords = 7;  // of XGLM, behind the pieces

std::string sentinel(int64_t index) { return std::string(kSentinel) + std::to_string(index) + ">"; }
std::string made_up_word(int index) { return "<madeupword" + std::to_string(index) + ">"; }

// The tokens of a model that never come from segmentation: control pieces (special) and user-defined ones.
std::vector<AddedToken> control_tokens(const SentencePieceModel& model) {
  std::vector<AddedToken> tokens;
  for (const Piece& piece : model.pieces) {
    if (piece.kind != Piece::Kind::kControl && piece.kind != Piece::Kind::kUserDefined) continue;
    tokens.push_back({.content = piece.text, .special = piece.kind == Piece::Kind::kControl});
  }
  return tokens;
}

// T5's extra tokens: unless the model has them, sentinels.
std::vector<AddedToken> t5_tokens(const SentencePieceModel& model, int64_t sentinels) {
  std::vector<AddedToken> tokens = control_tokens(model);
  for (const AddedToken& token : tokens) {
    if (token.content.find(kSentinel) != std::string::npos) return tokens;
  }
  for (int64_t i = 0; i < sentinels; ++i) tokens.push_back({.content = sentinel(i), .special = true});
  return tokens;
}

// The order of fairseq: its own four tokens in place of the model's first three pieces (<unk>, <s>, </s>).
void use_fairseq_order(const std::filesystem::path& folder, SentencePieceModel& model) {
  constexpr size_t kReplaced = 3;
  if (model.pieces.size() < kReplaced || model.unknown_id >= static_cast<int64_t>(kReplaced)) {
    throw DataError(folder.string() + ": the SentencePiece model's first pieces are not <unk>, <s>, </s>");
  }
  std::vector<Piece> pieces;
  for (const char* text : {"<s>", "<pad>", "</s>", "<unk>"}) pieces.push_back({.text = text});
  for (size_t i = kReplaced; i < model.pieces.size(); ++i) {
    for (size_t own = 0; own < 4; ++own) {
      if (model.pieces[i].text != pieces[own].text) continue;
      throw DataError(folder.string() + ": piece " + std::to_string(i) + " of the SentencePiece model is " +
                      pieces[own].text + ", which has another place in this form");
    }
  }
  std::move(model.pieces.begin() + kReplaced, model.pieces.end(), std::back_inserter(pieces));
  model.pieces = std::move(pieces);
  model.unknown_id = 3;
}

// The pieces in the order of their ids.
void order_pieces(Form form, const std::filesystem::path& folder, SentencePieceModel& model,
                  const TokenizerSettings& settings) {
  if (form == Form::kT5) {
    for (int64_t i = settings.extra_ids - 1; i >= 0; --i) model.pieces.push_back({.text = sentinel(i)});
  }
  if (form == Form::kT5 || form == Form::kLlama) return;
  use_fairseq_order(folder, model);
  if (form == Form::kXlmRoberta) {
    const auto mask = settings.named_tokens.find("mask_token");
    const bool is_named = mask != settings.named_tokens.end() && mask->second;
    model.pieces.push_back({.text = is_named ? mask->second->content : "<mask>"});
  }
  for (int i = 0; form == Form::kXglm && i < kMadeUpWords; ++i) model.pieces.push_back({.text = made_up_word(i)});
}

// The special tokens that the form has where the settings name none.
std::vector<AddedToken> extra_tokens(Form form, const SentencePieceModel& model, const TokenizerSettings& settings) {
  if (settings.extra_tokens) return *settings.extra_tokens;
  if (form == Form::kT5) return t5_tokens(model, settings.extra_ids);
  if (form == Form::kNllb) return settings.map_extra_tokens;
  std::vector<AddedToken> tokens = control_tokens(model);
  for (int i = 0; form == Form::kXglm && i < kMadeUpWords; ++i) {
    tokens.push_back({.content = made_up_word(i), .special = true});
  }
  return tokens;
}

void add_normalizers(Form form, const SentencePieceModel& model, TokenizerParts& parts) {
  if (form == Form::kLlama) return;
  if (!model.charsmap.empty()) parts.normalizers.push_back(precompiled_normalizer(model.charsmap));
  const bool keeps_space = form == Form::kXglm || (form == Form::kNllb && model.algorithm == Algorithm::kBpe);
  if (keeps_space) parts.normalizers.push_back(replace_normalizer(Pattern::regex(" {2,}"), " "));
}

void add_pre_tokenizers(Form form, const SentencePieceModel& model, const TokenizerSettings& settings,
                        TokenizerParts& parts) {
  const std::string mark(kSpaceMark);
  if (form == Form::kLlama) {
    const PrefixSpace prefix = !settings.add_prefix_space ? PrefixSpace::kNever
                               : settings.legacy          ? PrefixSpace::kDoubled
                                                          : PrefixSpace::kFirst;
    parts.pre_tokenizers.push_back(metaspace_pre_tokenizer(mark, prefix, false));
    return;
  }
  const bool keeps_space = form == Form::kXglm || (form == Form::kNllb && model.algorithm == Algorithm::kBpe);
  if (!keeps_space) parts.pre_tokenizers.push_back(white_space_split_pre_tokenizer());
  const bool has_prefix = form == Form::kT5 || form == Form::kNllb || settings.add_prefix_space;
  parts.pre_tokenizers.push_back(
      metaspace_pre_tokenizer(mark, has_prefix ? PrefixSpace::kAlways : PrefixSpace::kNever, true));
}

void add_decoders(Form form, const TokenizerSettings& settings, TokenizerParts& parts) {
  const std::string mark(kSpaceMark);
  Decoders& decoders = parts.decoders.emplace();
  if (form != Form::kLlama) {
    const bool has_prefix = form == Form::kT5 || form == Form::kNllb || settings.add_prefix_space;
    decoders.push_back(metaspace_decoder(mark, has_prefix));
    return;
  }
  decoders.push_back(replace_decoder(Pattern::literal(mark), " "));
  decoders.push_back(byte_fallback_decoder());
  decoders.push_back(fuse_decoder());
  // The prefix space comes off; legacy tokenizers take a second one with it.
  if (settings.add_prefix_space) decoders.push_back(strip_decoder(" ", settings.legacy ? 2 : 1, 0));
}

std::unique_ptr<const TokenModel> model_of(Form form, const std::filesystem::path& folder,
                                           const SentencePieceModel& model, const std::vector<Token>& tokens) {
  const bool takes_unigram = form != Form::kLlama;
  const bool takes_bpe = form == Form::kLlama || form == Form::kNllb;
  if (model.algorithm == Algorithm::kUnigram && takes_unigram) {
    return std::make_unique<Unigram>(model.pieces, model.unknown_id);
  }
  if (model.algorithm == Algorithm::kBpe && takes_bpe) {
    BpeRules rules;
    rules.merges = sentencepiece_merges(model.pieces);
    rules.byte_fallback = form == Form::kLlama;
    if (form == Form::kNllb) {
      rules.unknown_id = model.unknown_id;
      rules.fuse_unknown = true;
    }
    return std::make_unique<Bpe>(tokens, std::move(rules));
  }
  throw DataError(folder.string() + ": its tokenizer_class needs a " + (takes_unigram ? "Unigram" : "BPE") +
                  " SentencePiece model, got another kind");
}

// The tokens of languages by their English names.
std::optional<std::string> nllb_token(std::string_view language) {
  const auto code = configs::nllb_language_code(language);
  return code ? std::optional<std::string>(*code) : std::nullopt;
}

std::optional<std::string> m2m100_token(std::string_view language) {
  const auto code = configs::language_code(language);
  return code ? std::optional(m2m100_language_token(*code)) : std::nullopt;
}

}  // namespace

std::optional<SentencePieceForm> form_of_class(std::string name) {
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (name == "T5Tokenizer" || name == "MT5Tokenizer") return Form::kT5;
  if (name == "LlamaTokenizer") return Form::kLlama;
  if (name == "XLMRobertaTokenizer") return Form::kXlmRoberta;
  if (name == "NllbTokenizer") return Form::kNllb;
  if (name == "XGLMTokenizer") return Form::kXglm;
  if (name == "M2M100Tokenizer") return Form::kM2m100;
  return std::nullopt;
}

std::optional<SentencePieceForm> form_of_model_type(const std::string& model_type) {
  if (model_type == "t5" || model_type == "mt5") return Form::kT5;
  if (model_type == "llama" || model_type == "mistral") return Form::kLlama;
  if (model_type == "xlm-roberta") return Form::kXlmRoberta;
  if (model_type == "xglm") return Form::kXglm;
  if (model_type == "m2m_100") return Form::kM2m100;
  return std::nullopt;
}

void set_default_tokens(Form form, TokenizerSettings& settings) {
  const auto set = [&](const char* key, const char* content) {
    settings.named_tokens.try_emplace(key, AddedToken{.content = content, .special = true});
  };
  set("eos_token", "</s>");
  set("unk_token", "<unk>");
  if (form == Form::kT5) set("pad_token", "<pad>");
  if (form == Form::kLlama) set("bos_token", "<s>");
  if (form == Form::kT5 || form == Form::kLlama) return;
  set("bos_token", "<s>");
  set("pad_token", "<pad>");
  set("sep_token", "</s>");
  if (form == Form::kM2m100) return;
  set("cls_token", "<s>");
  if (form == Form::kXglm) return;
  set("mask_token", "<mask>");
  std::optional<AddedToken>& mask = settings.named_tokens["mask_token"];
  if (form == Form::kNllb && mask) mask->strip_left = mask->normalized = true;
}

FrameRule frame_of(Form form, const TokenizerSettings& settings, const TokenVocabulary& vocabulary) {
  const auto is_named = [&](const char* role) {
    const auto named = settings.named_tokens.find(role);
    return named != settings.named_tokens.end() && named->second;
  };
  const auto id = [&](const char* role) {
    return vocabulary.id_of(is_named(role) ? settings.named_tokens.at(role)->content : "", role);
  };
  FrameRule rule;
  switch (form) {
    case Form::kT5:
      rule.fixed.after = {id("eos_token")};
      break;
    case Form::kLlama:
      if (settings.add_bos_token.value_or(true) && is_named("bos_token")) rule.fixed.before = {id("bos_token")};
      if (settings.add_eos_token.value_or(false)) rule.fixed.after = {id("eos_token")};
      break;
    case Form::kXlmRoberta:
      rule.fixed = {{id("bos_token")}, {id("eos_token")}};
      break;
    case Form::kXglm:
      rule.fixed.before = {id("eos_token")};
      break;
    case Form::kNllb:
      rule.fixed.after = {id("eos_token")};
      rule.language_code = settings.legacy_behaviour ? FrameRule::LanguageCode::kLast : FrameRule::LanguageCode::kFirst;
      rule.token_of = nllb_token;
      rule.default_code = settings.src_lang.value_or("eng_Latn");
      vocabulary.id_of(rule.default_code, "token for its src_lang");
      break;
    case Form::kM2m100:
      rule.fixed.after = {id("eos_token")};
      rule.language_code = FrameRule::LanguageCode::kFirst;
      rule.token_of = m2m100_token;
      rule.default_code = m2m100_language_token(settings.src_lang.value_or("en"));
      rule.remedy = "its language_codes (" + settings.language_codes + ") have no such language";
      vocabulary.id_of(rule.default_code, "token for its src_lang");
      break;
  }
  return rule;
}

TokenizerParts sentencepiece_parts(Form form, const std::filesystem::path& folder, SentencePieceModel model,
                                   TokenizerSettings settings) {
  const std::vector<AddedToken> extra = extra_tokens(form, model, settings);
  order_pieces(form, folder, model, settings);
  std::vector<Token> tokens;
  for (const Piece& piece : model.pieces) tokens.push_back({piece.text, static_cast<int64_t>(tokens.size())});

  TokenizerParts parts;
  parts.model = model_of(form, folder, model, tokens);
  add_normalizers(form, model, parts);
  add_pre_tokenizers(form, model, settings, parts);
  add_decoders(form, settings, parts);
  set_default_tokens(form, settings);
  parts.vocabulary.emplace(folder, tokens);
  for (AddedToken& token : tokens_to_add(settings, extra)) parts.vocabulary->add(std::move(token));
  parts.eos_id = eos_id(settings, *parts.vocabulary);
  parts.frame = frame_of(form, settings, *parts.vocabulary);
  return parts;
}

}  // namespace layalign::data
