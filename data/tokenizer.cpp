#include "data/tokenizer.h"

#include <algorithm>

#include "data/error.h"
#include "data/sentencepiece_tokenizer.h"

namespace layalign::data {
namespace {

using std::filesystem::path;

constexpr const char* kT5File = "spiece.model";
constexpr const char* kLlamaFile = "tokenizer.model";
constexpr const char* kSupported =
    "Tokenizers that can be read: T5 form (spiece.model; T5, mT5) and Llama form (tokenizer.model; Llama 1 and 2, "
    "Mistral). "
    "A corpus of format token_ids needs no tokenizer.";

// Tokenizer files that are not read, to be named in messages.
constexpr const char* kOtherFiles[] = {"tokenizer.json", "sentencepiece.bpe.model", "tekken.json", "vocab.json",
                                       "vocab.txt"};

enum class Form { kT5, kLlama };

Form form_of(const std::string& tokenizer_class, const path& folder) {
  std::string name = tokenizer_class;
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (name == "T5Tokenizer" || name == "MT5Tokenizer") return Form::kT5;
  if (name == "LlamaTokenizer") return Form::kLlama;
  if (name.empty()) return std::filesystem::exists(folder / kT5File) ? Form::kT5 : Form::kLlama;
  throw DataError((folder / "tokenizer_config.json").string() + ": tokenizer_class " + tokenizer_class +
                  " is not readable. " + kSupported);
}

// Each form has its usual name, but either is read under the other's.
path model_file(Form form, const path& folder) {
  const path usual = folder / (form == Form::kT5 ? kT5File : kLlamaFile);
  if (std::filesystem::exists(usual)) return usual;
  return folder / (form == Form::kT5 ? kLlamaFile : kT5File);
}

void check_folder(const path& folder) {
  if (!std::filesystem::is_directory(folder)) throw DataError(folder.string() + ": no such folder");
  if (std::filesystem::exists(folder / kT5File) || std::filesystem::exists(folder / kLlamaFile)) return;
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
  check_folder(model_folder);
  TokenizerSettings settings = read_tokenizer_settings(model_folder);
  const Form form = form_of(settings.tokenizer_class, model_folder);
  const path file = model_file(form, model_folder);
  SentencePieceModel model = read_sentencepiece_model(file);
  if (form == Form::kT5) return std::make_unique<T5Tokenizer>(model_folder, std::move(model), std::move(settings));
  return std::make_unique<LlamaTokenizer>(model_folder, std::move(model), std::move(settings));
}

std::vector<int64_t> encode_source(const Tokenizer& tokenizer, std::string_view text, int64_t max_tokens) {
  return encode_target(tokenizer, text, max_tokens, tokenizer.eos_id());
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
