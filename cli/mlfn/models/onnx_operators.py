"""What any ONNX Runtime that mlfn installs with runs without question. Data only.

The operators of the ONNX standard: from which opset on, and until which.

Derived from the schemas of onnx 1.23.2 (``onnx.defs.get_all_schemas_with_history()``) so that looking an operator up
needs no import of that package; a test holds the table equal to the installed one. An operator that is not here is only
a suspicion: ONNX Runtime, which keeps some that ONNX dropped, has the last word (mlfn.models.onnx_support).
"""

from __future__ import annotations

__all__ = ["FLOOR_IR", "FLOOR_OPSETS", "OF_RUNTIME", "OLDEST_OPSET", "STANDARD", "WITHOUT_KERNEL"]

_TABLE = {
    "ai.onnx": """
        Abs Acos:7 Acosh:9 Add AffineGrid:20 And ArgMax ArgMin Asin:7 Asinh:9 Atan:7 Atanh:9 Attention:23
        AveragePool BatchNormalization Bernoulli:15 BitCast:26 BitShift:11 BitwiseAnd:18 BitwiseNot:18 BitwiseOr:18
        BitwiseXor:18 BlackmanWindow:17 Cast CastLike:15 CausalConvWithState:27 Ceil Celu:12 CenterCropPad:18 Clip
        Col2Im:18 Compress:9 Concat ConcatFromSequence:11 Constant ConstantOfShape:9 Conv ConvInteger:10
        ConvTranspose Cos:7 Cosh:9 CumProd:26 CumSum:11 DFT:17 DeformConv:19 DepthToSpace DequantizeLinear:10 Det:11
        Div Dropout DynamicQuantizeLinear:11 Einsum:12 Elu Equal Erf:9 Exp Expand:8 EyeLike:9 Flatten Floor GRU
        Gather GatherElements:11 GatherND:11 Gelu:20 Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
        GreaterOrEqual:12 GridSample:16 GroupNormalization:18 HammingWindow:17 HannWindow:17 HardSigmoid
        HardSwish:14 Hardmax Identity If ImageDecoder:20 InstanceNormalization IsInf:10 IsNaN:9 LRN LSTM
        LayerNormalization:17 LeakyRelu Less LessOrEqual:12 LinearAttention:27 Log LogSoftmax Loop LpNormalization
        LpPool MatMul MatMulInteger:10 Max MaxPool MaxRoiPool MaxUnpool:9 Mean MeanVarianceNormalization:9
        MelWeightMatrix:17 Min Mish:18 Mod:10 Mul Multinomial:7 Neg NegativeLogLikelihoodLoss:12
        NonMaxSuppression:10 NonZero:9 Not OneHot:9 Optional:15 OptionalGetElement:15 OptionalHasElement:15 Or PRelu
        Pad Pow QLinearConv:10 QLinearMatMul:10 QuantizeLinear:10 RMSNormalization:23 RNN RandomNormal
        RandomNormalLike RandomUniform RandomUniformLike Range:11 Reciprocal ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch:20 Relu
        Reshape Resize:10 ReverseSequence:10 RoiAlign:10 RotaryEmbedding:23 Round:11 STFT:17 Scan:8 Scatter:9-11
        ScatterElements:11 ScatterND:11 Selu SequenceAt:11 SequenceConstruct:11 SequenceEmpty:11 SequenceErase:11
        SequenceInsert:11 SequenceLength:11 SequenceMap:17 Shape Shrink:9 Sigmoid Sign:9 Sin:7 Sinh:9 Size Slice
        Softmax SoftmaxCrossEntropyLoss:12 Softplus Softsign SpaceToDepth Split SplitToSequence:11 Sqrt Squeeze
        StringConcat:20 StringNormalizer:10 StringSplit:20 Sub Sum SwiGLU:28 Swish:24 Tan:7 Tanh TensorScatter:24
        TfIdfVectorizer:9 ThresholdedRelu:10 Tile TopK Transpose Trilu:14 Unique:11 Unsqueeze Upsample:1-10 Where:9
        Xor
    """,
    "ai.onnx.ml": """
        ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder
        LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble:5
        TreeEnsembleClassifier:1-5 TreeEnsembleRegressor:1-5 ZipMap
    """,
}


def _parse(words: str) -> dict[str, tuple[int, int]]:
    table = {}
    for word in words.split():
        name, _, opsets = word.partition(":")
        first, _, until = opsets.partition("-")
        table[name] = (int(first or 1), int(until or 0))
    return table


STANDARD: dict[str, dict[str, tuple[int, int]]] = {domain: _parse(words) for domain, words in _TABLE.items()}
"""Domain -> operator -> (first opset that has it, first that has it no more or 0)."""

FLOOR_OPSETS = {"ai.onnx": 21, "ai.onnx.ml": 5}
"""Of ONNX 1.16 (March 2024), built into ONNX Runtime 1.18; mlfn needs 1.22."""

FLOOR_IR = 10

OLDEST_OPSET = 7
"""ONNX Runtime promises this opset of ai.onnx and later; some models of an older one run all the same."""

OF_RUNTIME = ("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental")
"""Domains that ONNX Runtime itself defines."""

WITHOUT_KERNEL = {"ImageDecoder"}
"""In the standard at FLOOR, yet not built into ONNX Runtime for the CPU (measured with 1.32)."""
