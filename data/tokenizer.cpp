#include "data/tokenizer.h"

#include <algorithm>
#include <iterator>

#include "checkpoints_tools/hash.h"
#include "configs/strict_json.h"
#include "data/error.h"
#include "data/m2m100_form.h"
#include "data/pipeline_tokenizer.h"
#include "data/sentencepiece_forms.h"
#include "data/tokenizer_json.h"

namespace layalign::data {
namespace {

using std::filesystem::path;
using Form = SentencePieceForm;

constexpr const char* kModelFiles[] = {"spiece.model", "tokenizer.model", "sentencepiece.bpe.model"};
constexpr const char* kJsonFile = "tokenizer.json";
constexpr const char* kSupported =
    "Tokenizers that can be read: SentencePiece models of T5 form (spiece.model; T5, mT5), Llama form "
    "(tokenizer.model; Llama 1 and 2, Mistral) and fairseq form (sentencepiece.bpe.model; XLM-RoBERTa, NLLB, XGLM, and "
    "with vocab.json beside it M2M100), and tokenizer.json. A corpus of format token_ids needs no tokenizer.";

// Tokenizer files that are not read by themselves, to be named in messages.
constexpr const char* kOtherFiles[] = {"tekken.json", "tiktoken.model", kVocabularyFile, "vocab.txt"};

// Each form has its usual name, but any of them is read under another's.
path model_file(std::optional<Form> form, const path& folder) {
  const char* usual = form == Form::kT5 ? kModelFiles[0] : form == Form::kLlama ? kModelFiles[1] : kModelFiles[2];
  if (form && std::filesystem::exists(folder / usual)) return folder / usual;
  for (const char* name : kModelFiles) {
    if (std::filesystem::exists(folder / name)) return folder / name;
  }
  return {};
}

std::optional<Form> form_of(const TokenizerSettings& settings, const path& folder, const path& model) {
  if (!settings.tokenizer_class.empty()) return form_of_class(settings.tokenizer_class);
  const auto form = form_of_model_type(settings.model_type);
  // NLLB has M2M100's model_type, but no vocab.json.
  const bool lacks_vocabulary = form == Form::kM2m100 && !std::filesystem::exists(folder / kVocabularyFile);
  if (form && !lacks_vocabulary) return form;
  if (model.filename() == kModelFiles[0]) return Form::kT5;
  if (model.filename() == kModelFiles[1]) return Form::kLlama;
  return std::nullopt;
}

[[noreturn]] void refuse(const path& folder, const path& model, const TokenizerSettings& settings) {
  if (!model.empty()) {
    const std::string form = settings.tokenizer_class.empty() ? "" : " " + settings.tokenizer_class;
    throw DataError((folder / "tokenizer_config.json").string() + ": tokenizer_class" + form +
                    (form.empty() ? " is not said" : " is not readable") + ". " + kSupported);
  }
  std::string found;
  for (const char* name : kOtherFiles) {
    if (std::filesystem::exists(folder / name)) found += (found.empty() ? "" : ", ") + std::string(name);
  }
  throw DataError(folder.string() + ": no tokenizer that can be read" +
                  (found.empty() ? std::string(" (no tokenizer file at all)") : " (found only " + found + ")") + ". " +
                  kSupported);
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const path& model_folder) {
  if (!std::filesystem::is_directory(model_folder)) throw DataError(model_folder.string() + ": no such folder");
  TokenizerSettings settings = read_tokenizer_settings(model_folder);
  const auto form = form_of(settings, model_folder, model_file(std::nullopt, model_folder));
  const path model = model_file(form, model_folder);
  if (model.empty() || !form) {
    if (!std::filesystem::exists(model_folder / kJsonFile)) refuse(model_folder, model, settings);
    return std::make_unique<PipelineTokenizer>(tokenizer_json_parts(model_folder, settings));
  }
  SentencePieceModel pieces = read_sentencepiece_model(model);
  return std::make_unique<PipelineTokenizer>(
      form == Form::kM2m100 ? m2m100_parts(model_folder, std::move(pieces), std::move(settings))
                            : sentencepiece_parts(*form, model_folder, std::move(pieces), std::move(settings)));
}

std::string tokenizer_fingerprint(const path& model_folder) {
  checkpoints_tools::Xxh3 hash;
  std::vector<std::string> names(std::begin(kModelFiles), std::end(kModelFiles));
  for (const char* name : {kJsonFile, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
    names.emplace_back(name);
  }
  if (!model_file(std::nullopt, model_folder).empty()) names.emplace_back(kVocabularyFile);  // else nobody reads it
  for (const std::string& name : names) {
    if (!std::filesystem::exists(model_folder / name)) continue;
    hash.update(name + '\0' + configs::read_text_file(model_folder / name) + '\0');
  }
  return hash.hex();
}

std::vector<int64_t> encode_source(const Tokenizer& tokenizer, std::string_view text, std::string_view language,
                                   int64_t max_tokens) {
  const Frame frame = tokenizer.frame(language);
  const auto framing = static_cast<int64_t>(frame.before.size() + frame.after.size());
  std::vector<int64_t> ids = frame.before;
  const std::vector<int64_t> inner = encode_prompt(tokenizer, text, std::max<int64_t>(max_tokens - framing, 0));
  ids.insert(ids.end(), inner.begin(), inner.end());
  ids.insert(ids.end(), frame.after.begin(), frame.after.end());
  // Where not even the frame fits, its end is kept.
  if (static_cast<int64_t>(ids.size()) > max_tokens) ids.erase(ids.begin(), ids.end() - max_tokens);
  return ids;
}

std::vector<int64_t> encode_prompt(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens) {
  std::vector<int64_t> ids = tokenizer.encode(text);
  if (static_cast<int64_t>(ids.size()) > max_tokens) ids.resize(max_tokens);
  return ids;
}

std::vector<int64_t> encode_target(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens,
                                   int64_t eos_id) {
  std::vector<int64_t> ids = encode_prompt(tokenizer, text, std::max<int64_t>(max_tokens - 1, 0));
  ids.push_back(eos_id);
  return ids;
}

void check_vocabulary(const Tokenizer& tokenizer, int64_t model_vocabulary, const path& model_folder) {
  if (tokenizer.vocabulary_size() <= model_vocabulary) return;
  throw DataError("tokenizer " + tokenizer.folder().string() + " has " + std::to_string(tokenizer.vocabulary_size()) +
                  " tokens, but the model " + model_folder.string() + " embeds " + std::to_string(model_vocabulary) +
                  ". They do not belong together; for a T5 model check extra_ids in tokenizer_config.json.");
}

}  // namespace layalign::data
