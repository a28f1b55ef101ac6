#include "data/token_ids.h"

#include "data/error.h"

namespace layalign::data {
namespace {

std::vector<int64_t> few_enough_ids(const JsonRecord& record, const char* key, int64_t vocabulary_size, int64_t most) {
  auto result = token_ids(record, key, vocabulary_size);
  if (static_cast<int64_t>(result.size()) > most) {
    throw DataError(record.where + ": field '" + key + "' has " + std::to_string(result.size()) +
                    " ids, more than the stage's limit of " + std::to_string(most) +
                    "; ids are taken as given, never cut: raise max_source_tokens or max_target_tokens");
  }
  return result;
}

}  // namespace

std::vector<int64_t> token_ids(const JsonRecord& record, const char* key, int64_t vocabulary_size) {
  const auto field = record.fields.find(key);
  const std::string where = record.where + ": field '" + key + "'";
  if (field == record.fields.end()) throw DataError(where + " is missing");
  if (!field->is_array()) throw DataError(where + " must be an array of token ids");
  std::vector<int64_t> result;
  for (const auto& id : *field) {
    if (!id.is_number_integer() || id < 0 || id >= vocabulary_size) {
      throw DataError(where + " holds " + id.dump() + "; the model's ids are 0.." + std::to_string(vocabulary_size - 1));
    }
    result.push_back(id.get<int64_t>());
  }
  return result;
}

Sample token_id_sample(const JsonRecord& record, const configs::StageConfig& stage, const Vocabulary& vocabulary) {
  Sample sample;
  sample.source = few_enough_ids(record, "source", vocabulary.encoder_size, stage.max_source_tokens);
  if (sample.source.empty()) throw DataError(record.where + ": field 'source' is empty");
  sample.target = few_enough_ids(record, "target", vocabulary.llm_size, stage.max_target_tokens);
  if (sample.target.empty()) throw DataError(record.where + ": field 'target' is empty; it ends with eos");
  if (stage.prompt) sample.prompt = few_enough_ids(record, "prompt", vocabulary.llm_size, stage.max_target_tokens);
  sample.language = kTokenIdLanguage;
  sample.origin = record.where;
  return sample;
}

std::vector<Sample> read_token_id_prompts(const std::filesystem::path& path, const Vocabulary& vocabulary) {
  std::vector<Sample> samples;
  for_each_jsonl(path, [&](const JsonRecord& record) {
    Sample sample;
    sample.source = token_ids(record, "source", vocabulary.encoder_size);
    if (sample.source.empty()) throw DataError(record.where + ": field 'source' is empty");
    if (record.fields.contains("prompt")) sample.prompt = token_ids(record, "prompt", vocabulary.llm_size);
    sample.language = kTokenIdLanguage;
    sample.origin = record.where;
    samples.push_back(std::move(sample));
    return true;
  });
  if (samples.empty()) throw DataError(path.string() + ": the file is empty");
  return samples;
}

}  // namespace layalign::data
