package rollup

import (
	"slices"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

type ownerReference = metav1.OwnerReference

// maxMessage bounds the message of a condition, in bytes.
const maxMessage = 1024

// condition returns one without its time of transition: Settle adds that.
func condition(kind string, status metav1.ConditionStatus, generation int64, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, ObservedGeneration: generation, Reason: reason, Message: cut(message, maxMessage)}
}

// cut shortens a text to at most n bytes without breaking a rune.
func cut(text string, n int) string {
	const mark = "..."
	if len(text) <= n {
		return text
	}
	end := n - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// Settle gives each condition its time of transition: the one before where the status is the same, else now.
func Settle(before, conditions []metav1.Condition, now time.Time) []metav1.Condition {
	out := slices.Clone(conditions)
	for i := range out {
		out[i].LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		for _, b := range before {
			if b.Type == out[i].Type && b.Status == out[i].Status && !b.LastTransitionTime.IsZero() {
				out[i].LastTransitionTime = b.LastTransitionTime
			}
		}
	}
	return out
}

// ready sums the others up: it repeats the first that does not hold. Conditions of the types in tolerated may be Unknown.
func ready(conditions []metav1.Condition, generation int64, tolerated ...string) metav1.Condition {
	for _, c := range conditions {
		if c.Status == metav1.ConditionFalse || c.Status == metav1.ConditionUnknown && !slices.Contains(tolerated, c.Type) {
			return condition(v1alpha1.ConditionReady, c.Status, generation, c.Reason, c.Message)
		}
	}
	return condition(v1alpha1.ConditionReady, metav1.ConditionTrue, generation, v1alpha1.ReasonReady, "")
}

// accepted returns the condition Accepted; a nil refusal means that the generation is accepted.
func accepted(generation int64, refusal *Refusal) metav1.Condition {
	if refusal == nil {
		return condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, generation, v1alpha1.ReasonAccepted, "")
	}
	return condition(v1alpha1.ConditionAccepted, metav1.ConditionFalse, generation, refusal.Reason, refusal.Message)
}

// Refusal is why a generation is not accepted.
type Refusal struct{ Reason, Message string }
