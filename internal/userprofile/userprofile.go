// Package userprofile is the bot of Microsoft's sample 05.multi-turn-prompt:
// it asks for a user's mode of transport, name, age and picture, and keeps
// them in the user state. Dialog ids, texts and stored values are those of the
// JavaScript sample, so that either bot can go on where the other one stopped.
package userprofile

import (
	"context"
	"fmt"
	"slices"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/state"
)

// Root is the id of the dialog that the bot begins with.
const Root = "userProfileDialog"

const noAge = -1.0 // of a user who did not want to give it

// A profile is what the steps set, under the same names.
type profile struct {
	Transport string             `json:"transport"`
	Name      string             `json:"name"`
	Age       float64            `json:"age"`
	Picture   *schema.Attachment `json:"picture,omitempty"`
}

// New returns the dialogs of the bot, which keep the profiles in the user state.
func New(conversation, user *state.Scope) *dialog.Set {
	profiles := state.NewProperty[profile](user, "USER_PROFILE")
	return dialog.NewSet(conversation, dialog.NewComponent(Root, "WATERFALL_DIALOG",
		dialog.NewTextPrompt("NAME_PROMPT", nil),
		dialog.NewChoicePrompt("CHOICE_PROMPT", nil),
		dialog.NewConfirmPrompt("CONFIRM_PROMPT", nil),
		dialog.NewNumberPrompt("NUMBER_PROMPT", isPlausible),
		dialog.NewAttachmentPrompt("ATTACHMENT_PROMPT", keepPictures),
		dialog.NewWaterfall("WATERFALL_DIALOG",
			func(ctx context.Context, step *dialog.Step) error {
				return step.Prompt(ctx, "CHOICE_PROMPT", dialog.PromptOptions{
					Prompt:  dialog.Text("Please enter your mode of transport."),
					Choices: dialog.Choices("Car", "Bus", "Bicycle"),
				})
			},
			dialog.Then(func(ctx context.Context, step *dialog.Step, transport dialog.FoundChoice) error {
				step.Set("transport", transport.Value)
				return step.Prompt(ctx, "NAME_PROMPT", dialog.PromptOptions{Prompt: dialog.Text("Please enter your name.")})
			}),
			dialog.Then(func(ctx context.Context, step *dialog.Step, name string) error {
				step.Set("name", name)
				step.Say(ctx, "Thanks "+name+".")
				return step.Prompt(ctx, "CONFIRM_PROMPT", dialog.PromptOptions{Prompt: dialog.Text("Do you want to give your age?")})
			}),
			dialog.Then(func(ctx context.Context, step *dialog.Step, yes bool) error {
				if !yes {
					return step.Next(ctx, noAge)
				}
				return step.Prompt(ctx, "NUMBER_PROMPT", dialog.PromptOptions{
					Prompt:      dialog.Text("Please enter your age."),
					RetryPrompt: dialog.Text("The value entered must be greater than 0 and less than 150."),
				})
			}),
			dialog.Then(func(ctx context.Context, step *dialog.Step, age float64) error {
				step.Set("age", age)
				if age == noAge {
					step.Say(ctx, "No age given.")
				} else {
					step.Say(ctx, fmt.Sprintf("I have your age as %v.", age))
				}
				if step.Turn.Activity.ChannelID == "msteams" { // where messages have attachments of other kinds
					step.Say(ctx, "Skipping attachment prompt in Teams channel...")
					return step.Next(ctx, nil)
				}
				return step.Prompt(ctx, "ATTACHMENT_PROMPT", dialog.PromptOptions{
					Prompt:      dialog.Text("Please attach a profile picture (or type any message to skip)."),
					RetryPrompt: dialog.Text("The attachment must be a jpeg/png image file."),
				})
			}),
			dialog.Then(func(ctx context.Context, step *dialog.Step, pictures []schema.Attachment) error {
				if len(pictures) > 0 {
					step.Set("picture", pictures[0])
				}
				var p profile
				if err := step.Values(&p); err != nil {
					return err
				}
				if err := profiles.Set(ctx, p); err != nil {
					return err
				}
				summary := fmt.Sprintf("I have your mode of transport as %s and your name as %s", p.Transport, p.Name)
				if p.Age != noAge {
					summary += fmt.Sprintf(" and your age as %v", p.Age)
				}
				step.Say(ctx, summary+".")
				if p.Picture != nil {
					a := schema.Activity{AttachmentLayout: schema.LIST, Attachments: []schema.Attachment{*p.Picture}, Text: "This is your profile picture."}
					if _, err := step.Turn.Send(ctx, a); err != nil { // a channel that takes no picture takes a text
						step.Say(ctx, "A profile picture was saved but could not be displayed here.")
					}
				}
				return step.Prompt(ctx, "CONFIRM_PROMPT", dialog.PromptOptions{Prompt: dialog.Text("Is this okay?")})
			}),
			dialog.Then(func(ctx context.Context, step *dialog.Step, ok bool) error {
				if ok {
					step.Say(ctx, "Thanks. Your profile saved successfully.")
				} else {
					step.Say(ctx, "Thanks. Your profile will not be kept.")
				}
				return step.End(ctx, nil)
			}),
		),
	))
}

func isPlausible(_ context.Context, age *dialog.Attempt[float64]) (bool, error) {
	return age.OK && age.Value > 0 && age.Value < 150, nil
}

// keepPictures drops what is no picture. Of attachments, one must stay.
func keepPictures(ctx context.Context, answer *dialog.Attempt[[]schema.Attachment]) (bool, error) {
	if !answer.OK {
		_, err := answer.Turn.SendText(ctx, "No attachments received. Proceeding without a profile picture...")
		return true, err
	}
	answer.Value = slices.DeleteFunc(answer.Value, func(a schema.Attachment) bool {
		return a.ContentType != "image/jpeg" && a.ContentType != "image/png"
	})
	return len(answer.Value) > 0, nil
}
