#include "data/tokenizer_components.h"

#include <map>
#include <utility>

#include "data/base64.h"
#include "data/utf8.h"

namespace layalign::data {
namespace {

template <typename Step>
using Reader = std::unique_ptr<const Step> (*)(JsonFields& fields);

template <typename Step>
using Readers = std::map<std::string, Reader<Step>>;

// Reads one step, or the steps of a Sequence, whose field `items` holds them.
template <typename Step>
void read_steps(JsonFields fields, const Readers<Step>& readers, const char* items,
                std::vector<std::unique_ptr<const Step>>& steps) {
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    for (JsonFields& item : fields.objects(items)) read_steps(std::move(item), readers, items, steps);
    fields.finish();
    return;
  }
  const auto reader = readers.find(type);
  if (reader == readers.end()) {
    std::string known = "Sequence";
    for (const auto& [name, read] : readers) known += ", " + name;
    fields.fail("type", "'" + type + "' is not readable here; known are " + known);
  }
  steps.push_back(reader->second(fields));
  fields.finish();
}

// {"String": ...} or {"Regex": ...}
Pattern read_pattern(JsonFields& fields) {
  JsonFields pattern = fields.object("pattern");
  const bool is_text = pattern.has("String");
  Pattern made = is_text ? Pattern::literal(pattern.text("String"))
                         : pattern.checked("Regex", [&] { return Pattern::regex(pattern.text("Regex")); });
  pattern.finish();
  return made;
}

std::string read_character(JsonFields& fields, const std::string& key) {
  std::string character = fields.text(key);
  if (character.empty() || utf8_length(character, 0) != character.size()) fields.fail(key, "expected one character");
  return character;
}

CutRule read_behavior(JsonFields& fields, const std::string& name) {
  const std::map<std::string, CutRule> rules{{"Removed", CutRule::kRemoved},
                                             {"Isolated", CutRule::kIsolated},
                                             {"MergedWithPrevious", CutRule::kMergedWithPrevious},
                                             {"MergedWithNext", CutRule::kMergedWithNext},
                                             {"Contiguous", CutRule::kContiguous}};
  const auto found = rules.find(name);
  if (found == rules.end()) fields.fail("behavior", "'" + name + "' is not readable");
  return found->second;
}

PrefixSpace read_prefix_space(JsonFields& fields) {
  const std::map<std::string, PrefixSpace> schemes{
      {"always", PrefixSpace::kAlways}, {"first", PrefixSpace::kFirst}, {"never", PrefixSpace::kNever}};
  const std::string name = fields.text_or("prepend_scheme", "always");
  const auto found = schemes.find(name);
  if (found == schemes.end()) fields.fail("prepend_scheme", "'" + name + "' is not readable");
  if (fields.flag_or("add_prefix_space", true)) return found->second;
  if (found->second == PrefixSpace::kFirst) fields.fail("add_prefix_space", "false does not agree with prepend_scheme");
  return PrefixSpace::kNever;
}

template <UnicodeForm form>
std::unique_ptr<const Normalizer> read_unicode_form(JsonFields&) {
  return unicode_normalizer(form);
}

std::unique_ptr<const Normalizer> read_precompiled(JsonFields& fields) {
  const char* const key = "precompiled_charsmap";
  const auto rules = decode_base64(fields.text(key));
  if (!rules) fields.fail(key, "is not base64");
  return fields.checked(key, [&] { return precompiled_normalizer(*rules); });
}

std::unique_ptr<const Normalizer> read_bert_normalizer(JsonFields& fields) {
  BertRules rules;
  rules.clean_text = fields.flag_or("clean_text", true);
  rules.handle_chinese_chars = fields.flag_or("handle_chinese_chars", true);
  rules.lowercase = fields.flag_or("lowercase", true);
  rules.strip_accents = fields.flag_or("strip_accents", rules.lowercase);
  return bert_normalizer(rules);
}

const Readers<Normalizer> kNormalizers{
    {"NFC", read_unicode_form<UnicodeForm::kNfc>},
    {"NFD", read_unicode_form<UnicodeForm::kNfd>},
    {"NFKC", read_unicode_form<UnicodeForm::kNfkc>},
    {"NFKD", read_unicode_form<UnicodeForm::kNfkd>},
    {"Precompiled", read_precompiled},
    {"BertNormalizer", read_bert_normalizer},
    {"Lowercase", [](JsonFields&) { return lowercase_normalizer(); }},
    {"StripAccents", [](JsonFields&) { return strip_accents_normalizer(); }},
    {"Strip", [](JsonFields& f) { return strip_normalizer(f.flag("strip_left"), f.flag("strip_right")); }},
    {"Prepend", [](JsonFields& f) { return prepend_normalizer(f.text("prepend")); }},
    {"Replace",
     [](JsonFields& f) {
       Pattern pattern = read_pattern(f);
       return replace_normalizer(std::move(pattern), f.text("content"));
     }},
};

std::unique_ptr<const PreTokenizer> read_metaspace(JsonFields& fields) {
  std::string mark = read_character(fields, "replacement");
  fields.skip("str_rep");
  const PrefixSpace prefix = read_prefix_space(fields);
  return metaspace_pre_tokenizer(std::move(mark), prefix, fields.flag_or("split", true));
}

std::unique_ptr<const PreTokenizer> read_byte_level(JsonFields& fields) {
  fields.skip("trim_offsets");
  const bool add_prefix_space = fields.flag_or("add_prefix_space", true);
  return byte_level_pre_tokenizer(add_prefix_space, fields.flag_or("use_regex", true));
}

std::unique_ptr<const PreTokenizer> read_split(JsonFields& fields) {
  Pattern pattern = read_pattern(fields);
  const CutRule rule = read_behavior(fields, fields.text("behavior"));
  return split_pre_tokenizer(std::move(pattern), rule, fields.flag_or("invert", false));
}

const Readers<PreTokenizer> kPreTokenizers{
    {"ByteLevel", read_byte_level},
    {"Metaspace", read_metaspace},
    {"Split", read_split},
    {"Digits", [](JsonFields& f) { return digits_pre_tokenizer(f.flag_or("individual_digits", false)); }},
    {"Punctuation",
     [](JsonFields& f) { return punctuation_pre_tokenizer(read_behavior(f, f.text_or("behavior", "Isolated"))); }},
    {"Whitespace", [](JsonFields&) { return white_space_pre_tokenizer(); }},
    {"WhitespaceSplit", [](JsonFields&) { return white_space_split_pre_tokenizer(); }},
    {"BertPreTokenizer", [](JsonFields&) { return bert_pre_tokenizer(); }},
};

const Readers<Decoder> kDecoders{
    {"ByteLevel",
     [](JsonFields& f) {
       for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) f.skip(key);
       return byte_level_decoder();
     }},
    {"Metaspace",
     [](JsonFields& f) {
       for (const char* key : {"split", "str_rep"}) f.skip(key);
       std::string mark = read_character(f, "replacement");
       return metaspace_decoder(std::move(mark), read_prefix_space(f) != PrefixSpace::kNever);
     }},
    {"Replace",
     [](JsonFields& f) {
       Pattern pattern = read_pattern(f);
       return replace_decoder(std::move(pattern), f.text("content"));
     }},
    {"ByteFallback", [](JsonFields&) { return byte_fallback_decoder(); }},
    {"Fuse", [](JsonFields&) { return fuse_decoder(); }},
    {"Strip",
     [](JsonFields& f) {
       std::string character = read_character(f, "content");
       const int64_t start = f.count("start");
       return strip_decoder(std::move(character), start, f.count("stop"));
     }},
    {"WordPiece",
     [](JsonFields& f) {
       std::string prefix = f.text_or("prefix", "##");
       return word_piece_decoder(std::move(prefix), f.flag_or("cleanup", true));
     }},
};

}  // namespace

void read_normalizer(JsonFields fields, Normalizers& steps) {
  read_steps(std::move(fields), kNormalizers, "normalizers", steps);
}

void read_pre_tokenizer(JsonFields fields, PreTokenizers& steps) {
  read_steps(std::move(fields), kPreTokenizers, "pretokenizers", steps);
}

void read_decoder(JsonFields fields, Decoders& steps) { read_steps(std::move(fields), kDecoders, "decoders", steps); }

}  // namespace layalign::data
