"""LayAlign for transformers: a frozen multilingual encoder, fused layer by layer into a frozen LLM (arXiv 2502.11405).

This file lies beside config.json and adapter.safetensors in what `layalign-checkpoint export --format huggingface`
writes. It needs torch, safetensors and transformers 4.51 or later, 5 included. The two frozen models are not in the
folder: they are loaded from where config.json says, or from where the caller says.

    model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True, encoder=..., llm=...).eval()
    processor = AutoProcessor.from_pretrained(FOLDER, trust_remote_code=True, encoder=..., llm=...)
    batch = processor(["Roger ana mipira 5 ..."], language="Swahili")
    print(processor.decode(model.generate(**batch, max_new_tokens=200)))

Shape letters: B samples, S encoder tokens, T LLM tokens, E encoder layers used, L LLM layers adapted, De and D the
widths of encoder and LLM, H heads, G key-value heads, d head size. Batches are padded here; masks are 1
where there is a token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import shutil
from typing import Any, Iterator

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PretrainedConfig
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils import cached_file

OLDEST = (4, 51)  # Qwen3, logits_to_keep
VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])
if VERSION < OLDEST:
    raise ImportError(f"modeling_layalign.py needs transformers 4.51 or later, this is {transformers.__version__}")

WEIGHTS = "adapter.safetensors"
DTYPE = "dtype" if VERSION >= (4, 56) else "torch_dtype"
LLM_TYPES = ("llama", "mistral", "qwen2", "qwen3")
IGNORED = -100  # a label that is none
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "token")
OPTIONS_OF_THE_FOLDER = ("revision", "subfolder", "code_revision", "trust_remote_code", "adapter_kwargs", "_from_auto",
                         "_commit_hash")


class LayAlignConfig(PretrainedConfig):
    """config.json: the two models, and the kinds, layers and sizes of what was trained between them.

    encoder, llm             path or hub name of each frozen model
    encoder_type, llm_type   their model_type; encoder_depth, llm_depth: layers; encoder_width, llm_width
    mapping                  mlp, linear or none
    aligner                  layer_wise, uniform_mean or none; structure: Linear or MLP; gate: scalar, dynamic or none
    encoder_layers           of hidden_states[0..depth], those that the aligner reads
    language_layers          of the LLM, in the aligner's order
    prompt_template          what the LLM reads behind the source, with {query} and {language}; null: nothing
    stages                   how it was trained; the token limits of the last one hold for new text too
    tokenizer_check          a text and the ids that both tokenizers made of it in training, without special tokens
    languages                English name, two-letter code and NLLB code of each language
    """

    model_type = "layalign"


class Mapping(nn.Module):
    """The encoder's last state for the LLM's input."""

    def __init__(self, kind: str, encoder_width: int, llm_width: int) -> None:
        super().__init__()
        is_mlp = kind == "mlp"
        self.linear1 = nn.Linear(encoder_width, 2 * encoder_width if is_mlp else llm_width)
        self.linear2 = nn.Linear(2 * encoder_width, llm_width) if is_mlp else None
        self.end_boundary = nn.Parameter(torch.zeros(llm_width))

    def forward(self, last_BSD: Tensor) -> Tensor:
        first = linear(last_BSD, self.linear1.weight, self.linear1.bias)
        return first if self.linear2 is None else linear(F.relu(first), self.linear2.weight, self.linear2.bias)


class Aligner(nn.Module):
    """The encoder's states of several layers for the keys and the values of one LLM layer."""

    def __init__(self, kind: str, structure: str, layers: tuple[int, int], widths: tuple[int, int]) -> None:
        super().__init__()
        is_layer_wise = kind == "layer_wise"
        self.fc1 = nn.Linear(layers[0], 2 * layers[1]) if is_layer_wise else None
        self.fc2 = nn.Linear(*widths)
        self.fc3 = nn.Linear(widths[1], widths[1]) if structure == "MLP" else None

    def forward(self, states_EBSD: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """The key state and the value state [B, S, D] of the index-th adapted layer."""
        if self.fc1 is None:
            state_BSD = self._project(states_EBSD.mean(0))
            return state_BSD, state_BSD
        rows = slice(2 * index, 2 * index + 2)
        mixed = linear(states_EBSD.movedim(0, -1), self.fc1.weight[rows], self.fc1.bias[rows])
        key_BSD, value_BSD = self._project(F.relu(mixed).movedim(-1, 0))
        return key_BSD, value_BSD

    def _project(self, mixed: Tensor) -> Tensor:
        states = linear(mixed, self.fc2.weight, self.fc2.bias)
        return states if self.fc3 is None else linear(F.relu(states), self.fc3.weight, self.fc3.bias)


@dataclasses.dataclass
class Sources:
    """What the adapted layers read of a batch during one call."""

    states_EBSD: Tensor
    mask_BS: Tensor
    kept: dict[int, tuple[Tensor, Tensor]] | None  # keys and values by adapted layer, where they are asked for again


class LayAlignForCausalLM(PreTrainedModel):
    """Encoder, LLM and the trained parts between them. One call at a time: a call's sources are held by the model."""

    config_class = LayAlignConfig
    base_model_prefix = ""
    main_input_name = "source_ids"
    supports_gradient_checkpointing = False  # a layer that runs again in backward would not find its sources
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True

    def __init__(self, config: LayAlignConfig, encoder: nn.Module, llm: nn.Module) -> None:
        """`encoder`, `llm`: the frozen models, loaded. `from_pretrained` does it all."""
        super().__init__(config)
        check_base("encoder", config, encoder)
        check_base("llm", config, llm)
        if config.llm_type not in LLM_TYPES:
            raise ValueError(f"llm_type {config.llm_type!r} is not supported; {', '.join(LLM_TYPES)} are")
        self.encoder, self.llm = encoder.requires_grad_(False).eval(), llm.requires_grad_(False)
        widths = config.encoder_width, config.llm_width
        self.mapping = None if config.mapping == "none" else Mapping(config.mapping, *widths)
        self.encoder_layers: list[int] = []
        self.aligner: Aligner | None = None
        self.gates: nn.Parameter | nn.Linear | None = None
        if config.aligner != "none":
            self._add_fusion(config)
        self._sources: Sources | None = None

    def _add_fusion(self, config: LayAlignConfig) -> None:
        self.encoder_layers = list(config.encoder_layers)
        counts = len(self.encoder_layers), len(config.language_layers)
        self.aligner = Aligner(config.aligner, config.structure, counts, (config.encoder_width, config.llm_width))
        if config.gate == "scalar":
            self.gates = nn.Parameter(torch.zeros(counts[1]))
        elif config.gate == "dynamic":
            self.gates = nn.Linear(config.llm_width, counts[1])
        layers = self.llm.get_decoder().layers
        for index, layer in enumerate(config.language_layers):
            hook = functools.partial(self._fuse, index)
            layers[layer].self_attn.register_forward_hook(hook, with_kwargs=True)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, *args: Any, config: LayAlignConfig | None = None,
                        **options: Any) -> LayAlignForCausalLM:
        """Loads the trained parts of a folder or hub repository, and the two models that it names.

        encoder, llm  other places of the two models than config.json says
        dtype         of both models; default: what the parts were trained with. The parts themselves stay float32.
        Options of the hub and a device_map's name go to both models, all others to the LLM.
        Errors: OSError where a model cannot be found, ValueError where it is another one.
        """
        here = {name: options.pop(name) for name in OPTIONS_OF_THE_FOLDER if name in options}
        hub = {name: options.pop(name) for name in HUB_OPTIONS if options.get(name) is not None}
        where = {name: here[name] for name in ("revision", "subfolder") if here.get(name)} | hub
        if config is None:
            config = LayAlignConfig.from_pretrained(pretrained_model_name_or_path, **where)
        for model in ("encoder", "llm"):
            if model in options:
                setattr(config, model, str(options.pop(model)))
        given = [options.pop(name, None) for name in ("dtype", "torch_dtype")]
        dtype = given[0] or given[1] or getattr(config, DTYPE, None) or torch.float32
        shared = {DTYPE: getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype} | hub
        if isinstance(options.get("device_map"), str):
            shared["device_map"] = options.pop("device_map")

        encoder = load_base("encoder", config, encoder_class(config), shared | encoder_options(config))
        llm = load_base("llm", config, AutoModelForCausalLM, shared | options)
        model = cls(config, encoder.get_encoder() if encoder.config.is_encoder_decoder else encoder, llm)
        model.load_trained(load_file(cached_file(pretrained_model_name_or_path, WEIGHTS, **where)))
        # The LLM's own file may ask for sampling and penalties, which the parts were not trained for.
        generation = GenerationConfig.from_pretrained(pretrained_model_name_or_path, **where)
        llm.generation_config = model.generation_config = generation
        if "device_map" in shared:
            for part in (model.mapping, model.aligner):
                if part is not None:
                    part.to(llm.get_input_embeddings().weight.device)
        return model.eval()

    def trained(self) -> dict[str, Tensor]:
        """What was trained, by the names of adapter.safetensors."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(("encoder.", "llm."))}

    def load_trained(self, weights: dict[str, Tensor]) -> None:
        """Takes the tensors of an adapter.safetensors. Errors: ValueError naming those that do not fit."""
        mine = {name: tuple(tensor.shape) for name, tensor in self.trained().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        if mine != theirs:
            wrong = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
            lines = [f"{name}: config.json means {mine.get(name)}, the file has {theirs.get(name)}" for name in wrong]
            raise ValueError(f"{WEIGHTS} does not fit config.json:\n  " + "\n  ".join(lines))
        self.load_state_dict(weights, strict=False)

    def save_pretrained(self, save_directory: str, **_: Any) -> None:
        """Writes such a folder again, after training in Python: the trained parts, never the frozen models."""
        folder = pathlib.Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        self.generation_config.save_pretrained(folder)
        tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in self.trained().items()}
        save_file(tensors, folder / WEIGHTS)
        if pathlib.Path(__file__).resolve() != (folder / "modeling_layalign.py").resolve():
            shutil.copy(__file__, folder / "modeling_layalign.py")

    def train(self, mode: bool = True) -> LayAlignForCausalLM:
        """The frozen encoder stays in evaluation mode: no dropout."""
        super().train(mode)
        self.encoder.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        return self.llm.get_input_embeddings()

    def forward(self, source_ids: Tensor, source_mask: Tensor | None = None, prompt_ids: Tensor | None = None,
                prompt_mask: Tensor | None = None, labels: Tensor | None = None, **_: Any) -> CausalLMOutput:
        """The loss of targets, or without them the logits of the next token.

        source_ids [B, S]  encoder ids with the encoder's special tokens
        prompt_ids [B, P]  LLM ids without bos
        labels [B, N]      target ids, each target ending with eos; -100 where there is none
        Returns the mean cross-entropy over all labels of the batch; logits [B, N, V] are those of the labels, which
        stand at the END of each row (as after `to_the_left`). Without labels: logits [B, 1, V].
        """
        target = (None, None) if labels is None else (labels.clamp(min=0), labels != IGNORED)
        with self._sources_of(source_ids, source_mask, keep=False) as source:
            inputs_BTD, mask_BT = self._inputs(source, (prompt_ids, prompt_mask), target)
            positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
            rows = 1 if labels is None else labels.shape[1] + 1
            logits = self.llm(inputs_embeds=inputs_BTD, attention_mask=mask_BT, position_ids=positions_BT,
                              use_cache=False, logits_to_keep=rows).logits
        if labels is None:
            return CausalLMOutput(logits=logits)
        logits = logits[:, :-1]  # the last one comes behind eos
        labels = to_the_left(labels != IGNORED, labels)[1].to(logits.device)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
        return CausalLMOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def generate(self, source_ids: Tensor, source_mask: Tensor | None = None, prompt_ids: Tensor | None = None,
                 prompt_mask: Tensor | None = None, **options: Any) -> Any:
        """Continues each sample: new ids alone, [B, N]. `options`: those of transformers' generate.

        Keys and values of the LLM's tokens are kept by transformers' cache, those of the sources are computed once.
        """
        with self._sources_of(source_ids, source_mask, keep=True) as source:
            inputs_BTD, mask_BT = self._inputs(source, (prompt_ids, prompt_mask), (None, None))
            if inputs_BTD.shape[1] == 1:  # bos alone, which transformers 4 takes for a later step: padding before it
                inputs_BTD, mask_BT = F.pad(inputs_BTD, (0, 0, 1, 0)), F.pad(mask_BT, (1, 0))
            return self.llm.generate(inputs_embeds=inputs_BTD, attention_mask=mask_BT, **options)

    @contextlib.contextmanager
    def _sources_of(self, ids_BS: Tensor, mask_BS: Tensor | None, keep: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Encodes the sources and lets the adapted layers read them. Yields the last states and the mask."""
        ids_BS = ids_BS.to(self.encoder.device)
        mask_BS = torch.ones_like(ids_BS) if mask_BS is None else mask_BS.to(ids_BS)
        if not bool(mask_BS.sum(1).all()):
            raise ValueError("a source has no tokens at all")
        with torch.no_grad():
            out = self.encoder(input_ids=ids_BS, attention_mask=mask_BS, output_hidden_states=True)
        last_BSD = out.last_hidden_state
        if self.encoder_layers:
            # Transformers' last hidden state is the normed one in all versions, hidden_states[-1] not in all.
            states = (*out.hidden_states[: self.config.encoder_depth], last_BSD)
            states_EBSD = torch.stack([states[layer] for layer in self.encoder_layers])
            self._sources = Sources(states_EBSD, mask_BS, {} if keep else None)
        try:
            yield last_BSD, mask_BS
        finally:
            self._sources = None

    def _inputs(self, source: tuple[Tensor, Tensor], prompt: tuple[Tensor | None, Tensor | None],
                target: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor, Tensor]:
        """[bos, mapped source, end_boundary, prompt, target] of each sample, behind its padding, and the mask."""
        embedding = self.llm.get_input_embeddings()
        device = embedding.weight.device
        ones_B1 = torch.ones(source[1].shape[0], 1, dtype=torch.long, device=device)
        parts = [(embedding(ones_B1 * self.llm.config.bos_token_id), ones_B1)]
        if self.mapping is not None:
            mapped_BSD = self.mapping(source[0].to(embedding.weight))
            boundary_B1D = self.mapping.end_boundary.to(mapped_BSD).expand(mapped_BSD.shape[0], 1, -1)
            parts += [(mapped_BSD, source[1].to(device)), (boundary_B1D, ones_B1)]
        for ids, mask in (prompt, target):
            if ids is not None:
                ids = ids.to(device)
                parts.append((embedding(ids), torch.ones_like(ids) if mask is None else mask.to(ids)))
        inputs_BTD, mask_BT = (torch.cat(tensors, dim=1) for tensors in zip(*parts))
        mask_BT, inputs_BTD = to_the_left(mask_BT, inputs_BTD)
        longest = int(mask_BT.sum(1).max())
        return inputs_BTD[:, -longest:], mask_BT[:, -longest:]

    def _fuse(self, index: int, attention: nn.Module, args: tuple, kwargs: dict[str, Any], output: tuple) -> Any:
        """Adds what the layer's queries find in the sources to what its self-attention gave."""
        if self._sources is None:
            return None  # the LLM alone
        hidden_BTD = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        key_BGSd, value_BGSd = self._key_value(index, attention, hidden_BTD)
        batch, tokens, _ = hidden_BTD.shape
        copies = batch // key_BGSd.shape[0]  # beams and several outputs of a sample stand one after the other
        mask_B11S = self._sources.mask_BS.bool().to(hidden_BTD.device)[:, None, None]
        key_BGSd, value_BGSd, mask_B11S = (
            tensor if copies == 1 else tensor.repeat_interleave(copies, 0)
            for tensor in (key_BGSd, value_BGSd, mask_B11S))

        size = attention.head_dim
        query_BHTd = heads(attention, "q", attention.q_proj(hidden_BTD))
        query_BHTd = rotate(query_BHTd, *kwargs["position_embeddings"])
        # The heads that share keys and values are more queries of one head.
        query = query_BHTd.reshape(batch, key_BGSd.shape[1], -1, size)
        fused = F.scaled_dot_product_attention(query, key_BGSd, value_BGSd, attn_mask=mask_B11S, scale=size**-0.5)
        fused_BTD = fused.view(batch, -1, tokens, size).transpose(1, 2).reshape(batch, tokens, -1)
        fused_BTD = self._gate(index, hidden_BTD) * fused_BTD
        return (output[0] + attention.o_proj(fused_BTD), *output[1:])

    def _key_value(self, index: int, attention: nn.Module, like: Tensor) -> tuple[Tensor, Tensor]:
        sources = self._sources
        if sources.kept is not None and index in sources.kept:
            return sources.kept[index]
        key_BSD, value_BSD = self.aligner(sources.states_EBSD.to(like), index)
        made = heads(attention, "k", attention.k_proj(key_BSD)), heads(attention, "v", attention.v_proj(value_BSD))
        if sources.kept is not None:
            sources.kept[index] = made
        return made

    def _gate(self, index: int, hidden_BTD: Tensor) -> Tensor | float:
        if self.gates is None:
            return 1.0
        if isinstance(self.gates, nn.Parameter):
            return self.gates[index].to(hidden_BTD)
        one = slice(index, index + 1)
        return linear(hidden_BTD, self.gates.weight[one], self.gates.bias[one])


class LayAlignProcessor:
    """Text to the ids that LayAlign reads, and ids to text."""

    def __init__(self, config: LayAlignConfig, encoder_tokenizer: Any, llm_tokenizer: Any) -> None:
        self.config, self.encoder_tokenizer, self.llm_tokenizer = config, encoder_tokenizer, llm_tokenizer

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **options: Any) -> LayAlignProcessor:
        """`encoder`, `llm`: other places of the two models than config.json says.

        Errors: OSError where a tokenizer cannot be found, ValueError where it makes other ids than in training.
        """
        hub = {name: options[name] for name in HUB_OPTIONS if options.get(name) is not None}
        where = {name: options[name] for name in ("revision", "subfolder") if options.get(name)} | hub
        config = LayAlignConfig.from_pretrained(pretrained_model_name_or_path, **where)
        for model in ("encoder", "llm"):
            if options.get(model):
                setattr(config, model, str(options[model]))
        tokenizers = [load_base(model, config, AutoTokenizer, hub) for model in ("encoder", "llm")]
        for model, tokenizer in zip(("encoder", "llm"), tokenizers):
            check_tokenizer(model, config, tokenizer)
        return cls(config, *tokenizers)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoProcessor") -> None:
        """AutoProcessor calls it for code that comes with a folder."""

    def __call__(self, texts: str | list[str], language: str | list[str] | None = None,
                 prompts: list[str] | None = None, targets: list[str] | None = None) -> dict[str, Tensor]:
        """What `generate` takes, and with `targets` what `forward` takes.

        texts     what the encoder reads
        language  of the texts, one or a list, by English name. Encoders with a token a language need it (NLLB, M2M100),
                  and so do translation prompts.
        prompts   what the LLM reads behind the texts; default: made from them as in training
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        languages = language if isinstance(language, list) else [language] * len(texts)
        stage = self.config.stages[-1]
        most_source, most = stage["max_source_tokens"], stage["max_target_tokens"]
        batch = padded("source", [self._source(*pair, most_source) for pair in zip(texts, languages, strict=True)])
        if prompts is None and self.config.prompt_template is not None:
            prompts = [self.prompt(*pair) for pair in zip(texts, languages)]
        if prompts is not None:
            batch |= padded("prompt", [self._llm_ids(text)[:most] for text in prompts])
        if targets is not None:
            end = [self.llm_tokenizer.eos_token_id]
            made = padded("target", [self._llm_ids(text)[: most - 1] + end for text in targets])
            batch["labels"] = made["target_ids"].masked_fill(made["target_mask"] == 0, IGNORED)
        return batch

    def prompt(self, text: str, language: str | None = None) -> str:
        """What the LLM reads behind a text, as in training."""
        template = self.config.prompt_template or ""
        if "{language}" in template:
            if language is None:
                raise ValueError("the prompt names the language of the text: give it, such as language='Swahili'")
            template = template.replace("{language}", language)
        return template.replace("{query}", text)

    def decode(self, ids_BN: Tensor) -> list[str]:
        """The texts of generated ids."""
        return self.llm_tokenizer.batch_decode(ids_BN, skip_special_tokens=True)

    def _llm_ids(self, text: str) -> list[int]:
        return self.llm_tokenizer(text, add_special_tokens=False)["input_ids"]

    def _source(self, text: str, language: str | None, most: int) -> list[int]:
        if hasattr(self.encoder_tokenizer, "src_lang"):
            self.encoder_tokenizer.src_lang = self._language_code(language)
        return self.encoder_tokenizer(text, truncation=True, max_length=most)["input_ids"]

    def _language_code(self, language: str | None) -> str:
        """The encoder's own code of a language."""
        known = {entry["name"]: entry for entry in self.config.languages}
        if language not in known:
            raise ValueError(f"this encoder reads a token of the language: {language!r} is none of those that have an "
                             f"English name here, {', '.join(sorted(known))}")
        nllb, short = known[language]["nllb_code"], known[language]["code"]
        tokenizer = self.encoder_tokenizer
        for code, token in ((nllb, nllb), (short, f"__{short}__")):
            if tokenizer.convert_tokens_to_ids(token) not in (None, tokenizer.unk_token_id):
                return code
        raise ValueError(f"the tokenizer of the encoder {self.config.encoder!r} has no token for {language}")


def encoder_class(config: LayAlignConfig) -> Any:
    """T5's encoder is loaded without its decoder, of the other families whatever AutoModel loads."""
    return transformers.AutoModelForTextEncoding if config.encoder_type in ("t5", "mt5") else AutoModel


def encoder_options(config: LayAlignConfig) -> dict[str, Any]:
    """GPT-2's fused attention in transformers 4 leaves out scale_attn_by_inverse_layer_idx."""
    return {"attn_implementation": "eager"} if config.encoder_type == "gpt2" else {}


def load_base(which: str, config: LayAlignConfig, loader: Any, options: dict[str, Any]) -> Any:
    """Loads the encoder or the LLM, or its tokenizer."""
    name = getattr(config, which)
    try:
        return loader.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise OSError(f"LayAlign's {which} cannot be loaded from {name!r}, which config.json or the caller names; give "
                      f"its folder or its name on the hub: from_pretrained(..., {which}=...). {error}") from error


def check_base(which: str, config: LayAlignConfig, model: nn.Module) -> None:
    """Refuses a model of another kind or size than the trained parts were made for."""
    its = model.config
    rope = getattr(its, "rope_parameters", None) or {}
    read = {"rope_type": "default", "rope_theta": getattr(its, "rope_theta", None)}
    if VERSION < (5, 0) and any(rope.get(key, value) != value for key, value in read.items()):
        raise ValueError(f"LayAlign's {which} {getattr(config, which)!r} has a config.json of transformers 5, whose "
                         f"rope_parameters transformers {transformers.__version__} does not read: take transformers 5")
    depth = getattr(its, "num_layers", None) or its.num_hidden_layers
    found = its.model_type, depth, getattr(its, "d_model", None) or its.hidden_size
    wanted = tuple(getattr(config, f"{which}_{what}") for what in ("type", "depth", "width"))
    if found != wanted:
        text = "{} of {} layers, {} wide".format
        raise ValueError(f"LayAlign's {which} {getattr(config, which)!r} is a model of type {text(*found)}; the "
                         f"adapter was trained with {text(*wanted)}")


def check_tokenizer(which: str, config: LayAlignConfig, tokenizer: Any) -> None:
    """Refuses a tokenizer that makes other ids of a text than it did in training."""
    check = config.tokenizer_check
    if check is None:  # trained on ids
        return
    made = tokenizer(check["text"], add_special_tokens=False)["input_ids"]
    if made != check[which]:
        raise ValueError(f"the tokenizer of LayAlign's {which} {getattr(config, which)!r}, as transformers "
                         f"{transformers.__version__} loads it, makes {made} of {check['text']!r}, but in training it "
                         f"was {check[which]}. Of a SentencePiece model alone, version 5 makes another tokenizer than "
                         "version 4 for some models: take a folder with the tokenizer.json of the hub, or version 4")


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A float32 master in products of the type, and on the device, of x."""
    return F.linear(x, weight.to(x), bias.to(x))


def heads(attention: nn.Module, which: str, projected_BTD: Tensor) -> Tensor:
    """[B, T, heads * d] -> [B, heads, T, d]; normed where the layer norms its queries and keys (Qwen3)."""
    states = projected_BTD.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    norm = getattr(attention, f"{which}_norm", None)
    return states if norm is None else norm(states)


def rotate(query_BHTd: Tensor, cos_BTd: Tensor, sin_BTd: Tensor) -> Tensor:
    """Rotary embedding at the tokens' own positions."""
    first, second = query_BHTd.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return query_BHTd * cos_BTd.unsqueeze(1) + turned * sin_BTd.unsqueeze(1)


def to_the_left(mask_BT: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the padding of each row before its tokens, wherever it was; the order of the tokens stays."""
    order_BT = mask_BT.long().argsort(dim=1, stable=True)
    index = order_BT if values.dim() == 2 else order_BT.unsqueeze(-1).expand_as(values)
    return mask_BT.gather(1, order_BT), values.gather(1, index)


def padded(name: str, rows: list[list[int]]) -> dict[str, Tensor]:
    """NAME_ids and NAME_mask of rows of different lengths."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.long)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=torch.long)
    return {f"{name}_ids": ids, f"{name}_mask": mask}
