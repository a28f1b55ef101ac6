#include "data/token_ids.h"

#include "data/error.h"

namespace layalign::data {

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

std::vector<Sample> read_token_id_prompts(const std::filesystem::path& path, const Vocabulary& vocabulary) {
  std::vector<Sample> samples;
  for_each_jsonl(path, [&](const JsonRecord& record) {
    Sample sample;
    sample.source = token_ids(record, "source", vocabulary.encoder_size);
    if (sample.source.empty()) throw DataError(record.where + ": field 'source' is empty");
    if (record.fields.contains("prompt")) sample.prompt = token_ids(record, "prompt", vocabulary.llm_size);
    sample.language = "none";
    sample.origin = record.where;
    samples.push_back(std::move(sample));
    return true;
  });
  if (samples.empty()) throw DataError(path.string() + ": the file is empty");
  return samples;
}

}  // namespace layalign::data
