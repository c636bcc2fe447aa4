'use strict';

// The bot of Microsoft's sample 05.multi-turn-prompt (JavaScript), rebuilt from its dialog ids and texts:
// a JavaScript bot and a Go bot with these ids can take over each other's conversations in the middle.

const { ActivityHandler, MessageFactory } = require('botbuilder');
const {
    AttachmentPrompt,
    ChoicePrompt,
    ComponentDialog,
    ConfirmPrompt,
    DialogSet,
    NumberPrompt,
    TextPrompt,
    WaterfallDialog,
} = require('botbuilder-dialogs');

const IDS = {
    root: 'userProfileDialog',
    name: 'NAME_PROMPT',
    choice: 'CHOICE_PROMPT',
    confirm: 'CONFIRM_PROMPT',
    number: 'NUMBER_PROMPT',
    attachment: 'ATTACHMENT_PROMPT',
    waterfall: 'WATERFALL_DIALOG',
};
const DIALOG_STATE = 'DialogState'; // property of the conversation state
const USER_PROFILE = 'USER_PROFILE'; // property of the user state
const NO_AGE = -1;
const PICTURE_TYPES = new Set(['image/jpeg', 'image/png']);

async function ageIsPlausible({ recognized }) {
    return recognized.succeeded && recognized.value > 0 && recognized.value < 150;
}

async function keepPictures({ context, recognized }) {
    if (!recognized.succeeded) {
        await context.sendActivity('No attachments received. Proceeding without a profile picture...');
        return true;
    }
    recognized.value = recognized.value.filter((attachment) => PICTURE_TYPES.has(attachment.contentType));
    return recognized.value.length > 0;
}

class UserProfileDialog extends ComponentDialog {
    constructor(userState) {
        super(IDS.root);
        const profiles = userState.createProperty(USER_PROFILE);

        const steps = [
            function transport(step) {
                return step.prompt(IDS.choice, {
                    prompt: 'Please enter your mode of transport.',
                    choices: ['Car', 'Bus', 'Bicycle'].map((value) => ({ value })),
                });
            },
            function name(step) {
                step.values.transport = step.result.value;
                return step.prompt(IDS.name, 'Please enter your name.');
            },
            async function wantsAge(step) {
                step.values.name = step.result;
                await step.context.sendActivity(`Thanks ${step.result}.`);
                return step.prompt(IDS.confirm, 'Do you want to give your age?', ['yes', 'no']);
            },
            function age(step) {
                if (!step.result) return step.next(NO_AGE);
                return step.prompt(IDS.number, {
                    prompt: 'Please enter your age.',
                    retryPrompt: 'The value entered must be greater than 0 and less than 150.',
                });
            },
            async function picture(step) {
                step.values.age = step.result;
                await step.context.sendActivity(
                    step.result === NO_AGE ? 'No age given.' : `I have your age as ${step.result}.`
                );
                if (step.context.activity.channelId === 'msteams') {
                    await step.context.sendActivity('Skipping attachment prompt in Teams channel...');
                    return step.next(undefined);
                }
                return step.prompt(IDS.attachment, {
                    prompt: 'Please attach a profile picture (or type any message to skip).',
                    retryPrompt: 'The attachment must be a jpeg/png image file.',
                });
            },
            async function summary(step) {
                step.values.picture = step.result && step.result[0];
                const { transport, name, age, picture } = step.values;
                Object.assign(await profiles.get(step.context, {}), { transport, name, age, picture });

                const ageText = age === NO_AGE ? '' : ` and your age as ${age}`;
                await step.context.sendActivity(
                    `I have your mode of transport as ${transport} and your name as ${name}${ageText}.`
                );
                if (picture) {
                    try {
                        await step.context.sendActivity(
                            MessageFactory.attachment(picture, 'This is your profile picture.')
                        );
                    } catch {
                        await step.context.sendActivity('A profile picture was saved but could not be displayed here.');
                    }
                }
                return step.prompt(IDS.confirm, { prompt: 'Is this okay?' });
            },
            async function goodbye(step) {
                const outcome = step.result ? 'Your profile saved successfully.' : 'Your profile will not be kept.';
                await step.context.sendActivity(`Thanks. ${outcome}`);
                return step.endDialog();
            },
        ];

        // The order counts: it makes the component's version, 1093723375.
        this.addDialog(new TextPrompt(IDS.name));
        this.addDialog(new ChoicePrompt(IDS.choice));
        this.addDialog(new ConfirmPrompt(IDS.confirm));
        this.addDialog(new NumberPrompt(IDS.number, ageIsPlausible));
        this.addDialog(new AttachmentPrompt(IDS.attachment, keepPictures));
        this.addDialog(new WaterfallDialog(IDS.waterfall, steps));
        this.initialDialogId = IDS.waterfall;
    }

    async run(context, dialogState) {
        const dc = await new DialogSet(dialogState).add(this).createContext(context);
        const { status } = await dc.continueDialog();
        if (status === 'empty') await dc.beginDialog(this.id);
    }
}

class MultiTurnBot extends ActivityHandler {
    constructor(conversationState, userState) {
        super();
        const dialog = new UserProfileDialog(userState);
        const dialogState = conversationState.createProperty(DIALOG_STATE);

        this.onMessage(async (context, next) => {
            await dialog.run(context, dialogState);
            await next();
        });
        this.onDialog(async (context, next) => {
            await conversationState.saveChanges(context, false);
            await userState.saveChanges(context, false);
            await next();
        });
    }
}

module.exports = { IDS, MultiTurnBot, UserProfileDialog };
